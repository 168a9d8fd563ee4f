"""The contracts: every touch of something that is not public, with what is lost without it.

docs/compat.md has the same table for people (`tests/unit/test_contracts.py` compares the two).
"""

from __future__ import annotations

from .nice import NICE
from .vital import VITAL

CONTRACTS = (*VITAL, *NICE)
"""In the order of the page."""
