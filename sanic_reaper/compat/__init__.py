"""All that is touched of Sanic, sanic-ext and CPython that is not public. No other module does.

`contracts` says what a contract is. `table` has all contracts, and `probes` the means to check
them. docs/compat.md tells what follows if a contract is broken.

Split by process: a worker loads `sanic_app`, `sanic_server`, `sanic_listeners` and
`sanic_extensions`. The others are the main process's alone: no worker pays for what only it needs.

Checked with Sanic 24.12.1 and 25.12.1, sanic-ext 24.12.0 and 25.12.0, CPython 3.10 to 3.15.
(`main.manager` subclasses WorkerManager, `main.processes` the three Process classes: both by their
methods.)
"""
