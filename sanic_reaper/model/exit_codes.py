"""The exit codes of a server that are neither 0 nor 1. Both are those of sysexits.h."""

BAD_CONFIGURATION = 78
"""A setting has a value that is not allowed, or a decorator has no effect (EX_CONFIG)."""

NOBODY_LIVES = 75
"""No worker lives, and none is started again (EX_TEMPFAIL)."""
