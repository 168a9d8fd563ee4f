"""All that is touched inside Sanic, sanic-ext and `multiprocessing`. Nobody else reaches in.

Split by process: a worker loads `sanic_app`, `sanic_server`, `sanic_listeners` and
`sanic_extensions`. The others are the main process's alone: no worker pays for what only it needs.

Checked against Sanic 24.12.1 and 25.12.1, sanic-ext 24.12.0 and 25.12.0, CPython 3.10 to 3.15. Each
function says what it relies on; `tests/test_compat.py` asks an installed Sanic whether it holds.
(`main.manager` subclasses WorkerManager, `main.processes` the three Process classes: both by their
methods.)
"""
