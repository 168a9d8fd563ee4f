"""What tests of a worker's pipe to main share."""

from __future__ import annotations


def nowhere(frame):
    return [False, []]


STACK_TEXT = 'Current thread 0x1 (most recent call first):\n  File "shop.py", line {} in report\n'
WHERE = '\x1e["where", false, [], 0]\n'
