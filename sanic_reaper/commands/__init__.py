"""The `sanic-reaper` command: a module for each of its commands, imported when it is chosen."""
