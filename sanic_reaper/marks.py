"""Names of the markers that a server puts into the environment of its processes.

A marker survives exec, `setsid` and a change of parent, and `/proc/PID/environ` shows it. So it is
the evidence that remains when the process tree is broken. A process that was forked without exec
shows the environment of the main process's own exec, which has no marker. The process tree covers
that one.

The names are in lower case, because Sanic makes a key of `app.config` of each variable in upper
case that begins with `SANIC_` or with the user's own prefix (`Config.load_environment_vars`), and
sanic-ext injects each key as a constant. No prefix matches a name in lower case.
"""

RUN = "sanic_reaper_run"
"""The id of a run. Set while the server of that run exists."""

MAIN = "sanic_reaper_main"
"""The main process of a run: pid, creation time, app name, directory, PID namespace of the pid.

The fields are separated by tabs. Set when Sanic's server starts, and not before, because a process
that still forks itself into the background gets another pid."""

DETACHED = "sanic_reaper_detached"
"""The ids of the runs that exempt a process, separated by commas. Replaces `RUN` in such a process.

There can be several ids: a detached process can itself run a server that detaches a process."""

OWNER = "sanic_reaper_owner"
"""The worker that has started a process, as `PID:CREATION TIME`. (Its replacement has its name.)"""

WORKER_MARKS = ("SANIC_WORKER_NAME", "SANIC_WORKER_IDENTIFIER", "SANIC_WORKER_PROCESS", OWNER)
"""The variables that describe a worker in its environment: three of Sanic's, and `OWNER`."""
