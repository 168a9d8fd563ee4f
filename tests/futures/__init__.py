"""The Reaper on releases of Sanic, sanic-ext and CPython that do not exist yet."""
