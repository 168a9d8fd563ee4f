"""What the Reaper costs and how fast it is, always as a ratio to plain Sanic in the same run.

`python -m benchmarks` runs everything and writes `docs/benchmarks.md`; each subject also runs
alone: `python -m benchmarks.cleanup`, `.throughput`, `.footprint`. Nothing here is a test: a figure
that misses its target is printed as such, and the exit code stays 0.
"""
