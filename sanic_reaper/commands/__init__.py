"""The commands of `sanic-reaper`: one module each, imported only when its command is called."""
