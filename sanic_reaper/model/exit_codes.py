"""The exit codes of a server that are neither 0 nor 1. Both are those of sysexits.h."""

BAD_CONFIGURATION = 78
"""A setting has a value that is not allowed, or a handler is decorated in vain (EX_CONFIG)."""

NOBODY_LIVES = 75
"""The workers have all died once too often (EX_TEMPFAIL)."""
