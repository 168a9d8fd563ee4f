"""The mutations of `mutations.py` still fit the code. (That they are noticed takes minutes.)"""

from __future__ import annotations

import ast

import pytest
from mutations import MUTATIONS, mutated


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_it_can_be_made(mutation):
    ast.parse(mutated(mutation))
