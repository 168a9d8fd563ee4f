"""The contracts: every use of something that is not public, with what is lost without it.

docs/compat.md has the same table for people (`tests/unit/test_contracts.py` compares the two).
"""

from __future__ import annotations

from .nice_cpython import CPYTHON
from .nice_sanic import SANIC
from .vital import VITAL

CONTRACTS = (*VITAL, *SANIC, *CPYTHON)
"""All contracts, in the order of the page."""
