"""The marks that a server leaves in the environment of what it starts.

A mark survives exec, `setsid` and a change of parent, and `/proc/PID/environ` shows it: it is the
evidence that remains when the family tree is broken. A process that was forked without exec bears
the marks of main's own exec, so it has none; the tree covers that one.

The names are in lower case. Sanic makes a key of `app.config` of each variable in upper case that
begins with `SANIC_` or with a prefix of the user's (`Config.load_environment_vars`), and sanic-ext
injects each key as a constant. No prefix matches a name in lower case.
"""

RUN = "sanic_reaper_run"
"""The id of one run of one server. It stands in the environment while that server runs."""

MAIN = "sanic_reaper_main"
"""Who main is, in what its server executes: pid, creation time, name and directory of the app, and
the PID namespace in which that pid means main, with tabs between them. Set when main serves: a
daemon that still forks would not know."""

DETACHED = "sanic_reaper_detached"
"""Stands in the place of `RUN` in a child that is meant to outlive the server: the ids of the runs
that spare it, with commas between them. A detached server may start a detached process itself."""

OWNER = "sanic_reaper_owner"
"""In what a worker starts: which worker, as `PID:CREATION TIME`. Its name is not enough: the worker
that takes its place has the same."""

WORKER_MARKS = ("SANIC_WORKER_NAME", "SANIC_WORKER_IDENTIFIER", "SANIC_WORKER_PROCESS", OWNER)
"""What the environment of a worker says of it: three variables of Sanic's, and one of ours."""
