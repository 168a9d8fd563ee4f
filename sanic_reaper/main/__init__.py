"""The main process: what it starts, watches, replaces and stops."""
