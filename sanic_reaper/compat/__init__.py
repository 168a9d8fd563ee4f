"""The only package that uses what is not public in Sanic, sanic-ext and CPython.

`contracts` says what a contract is. `table` has all contracts, and `probes` the means to check
them. docs/compat.md tells what follows if a contract is broken.

A worker loads `sanic_app`, `sanic_server`, `sanic_listeners` and `sanic_extensions`. Only the main
process loads the other modules.

Checked with Sanic 24.12.1 and 25.12.1, sanic-ext 24.12.0 and 25.12.0, CPython 3.10 to 3.15.
(`main.manager` has a subclass of WorkerManager, and `main.processes` has subclasses of the three
Process classes. Names that CPython documents are public even with an underscore: `os._exit`.)
"""
