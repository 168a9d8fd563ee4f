"""Reads numbers and text that other processes wrote: in files, environments, sockets and names.

Numbers are checked for type and range. Text is made safe for a terminal. The watchdog imports this
module, so it imports nothing.
"""

from __future__ import annotations

MOST_PID = 2**22
"""The highest pid that Linux gives (PID_MAX_LIMIT, include/linux/threads.h).

A much higher number makes `os.kill` raise OverflowError."""

MOST = 2**63 - 1
"""The highest number that the kernel writes or accepts."""

FARTHEST = 1e12
"""The largest time or duration that is accepted, in seconds: 30,000 years."""

LONGEST_DURATION = 1e9
"""Seconds, 31 years. A longer duration that a user sets counts as this one: the kernel's timers and
the watchdog's channel accept it, and nobody can tell the difference."""


def whole(text: str, least: int = 0, most: int = MOST) -> int:
    """Parse a whole number that consists of ASCII digits.

    `int` alone does not do: `int('٣')` is 3, and more than 4,300 digits raise an error of their
    own.

    Raises:
        ValueError: the text is no whole number, or the number is out of range.
    """
    digits = text[1:] if text.startswith("-") else text
    if not (0 < len(digits) < 20 and digits.isascii() and digits.isdigit()):
        raise ValueError(f"no whole number: {printable(text[:40])!r}")
    number = int(text)
    if not least <= number <= most:
        raise ValueError(f"{number} is not between {least} and {most}")
    return number


def pid(text: str) -> int:
    """Parse a pid.

    Raises:
        ValueError: no process can have this pid.
    """
    return whole(text, 1, MOST_PID)


def identity(number: str, start: str) -> tuple[int, int]:
    """Parse a pid and a creation time.

    Raises:
        ValueError: one of them is not valid.
    """
    return pid(number), whole(start)


def number(text: str) -> float:
    """Parse a finite number below `FARTHEST`, such as a number of seconds.

    Raises:
        ValueError: the text is no such number. `nan` and `inf` are not accepted.
    """
    if len(text) > 40:
        raise ValueError("too long for a number")
    found = float(text)
    if not -FARTHEST < found < FARTHEST:
        raise ValueError(f"{found} is no moment, and no duration")
    return found


def printable(text: str) -> str:
    """Escape each character that a terminal would interpret, line breaks included.

    A process can give itself any name.
    """
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """Escape each character that a terminal would interpret, except line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(sign if sign in "\n\t" else _shown(sign) for sign in text)


def _shown(sign: str) -> str:
    return sign if sign.isprintable() else ascii(sign)[1:-1]
