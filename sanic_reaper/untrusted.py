"""What others have written - in a file, an environment, a socket, a name - read with care.

Numbers are checked for their type and their range, and text for what a terminal would obey. The
watchdog imports this too, so it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .platform.base import Identity

MOST_PID = 2**22
"""The highest pid that Linux gives (PID_MAX_LIMIT). A higher one makes `os.kill` raise
OverflowError."""

MOST = 2**63 - 1
"""The highest number that the kernel tells, or takes."""

FARTHEST = 1e12
"""Seconds, in both directions, which a moment or a duration may have: 30,000 years."""

LONGEST_DURATION = 1e9
"""Seconds, 31 years. A longer duration that a user sets counts as this one: the kernel's timers and
the watchdog's channel accept it, and nobody can tell the difference."""


def whole(text: str, least: int = 0, most: int = MOST) -> int:
    """A whole number, in ASCII digits alone.

    `'²'.isdigit()` is true, `int('٣')` is 3, and `int` raises for more than 4,300 digits.

    Raises:
        ValueError: it is none, or out of range.
    """
    digits = text[1:] if text.startswith("-") else text
    if not (0 < len(digits) < 20 and digits.isascii() and digits.isdigit()):
        raise ValueError(f"no whole number: {printable(text[:40])!r}")
    number = int(text)
    if not least <= number <= most:
        raise ValueError(f"{number} is not between {least} and {most}")
    return number


def pid(text: str) -> int:
    """The pid of a process.

    Raises:
        ValueError: nobody can have this one.
    """
    return whole(text, 1, MOST_PID)


def identity(number: str, start: str) -> Identity:
    """A pid and a creation time.

    Raises:
        ValueError: one of them is none.
    """
    return pid(number), whole(start)


def number(text: str) -> float:
    """A number that is finite and not out of all proportion: seconds, above all.

    Raises:
        ValueError: it is none. `nan` and `inf` are none.
    """
    if len(text) > 40:
        raise ValueError("too long for a number")
    found = float(text)
    if not -FARTHEST < found < FARTHEST:
        raise ValueError(f"{found} is no moment, and no duration")
    return found


def printable(text: str) -> str:
    """One line of text without what a terminal might obey: a process may call itself anything, a
    line break or an order to the terminal included."""
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay, as do its tabs."""
    if text.isprintable():
        return text
    return "".join(sign if sign in "\n\t" else _shown(sign) for sign in text)


def _shown(sign: str) -> str:
    return sign if sign.isprintable() else ascii(sign)[1:-1]
