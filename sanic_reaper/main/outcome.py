"""The exit code and the reason of a server that an exception stops. Pure."""

from __future__ import annotations


def outcome_of(error: BaseException) -> tuple[int, str]:
    """The exit code that Python gives a process for this exception, and the reason in words."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            code = error.code or 0
            return code, f"exit with code {code}"
        return 1, str(error.code)
    return 1, f"the main process has failed: {error!r}"
