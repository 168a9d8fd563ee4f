"""The mutations of `mutations.py` still fit the code. (That they are noticed takes minutes.)"""

from __future__ import annotations

import ast

import pytest
from mutations import MUTATIONS, PROJECT, mutated

needs_source = pytest.mark.skipif(
    not (PROJECT / "sanic_reaper").exists(),
    reason="the package is installed, and its source is not beside the tests",
)


@needs_source
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_it_can_be_made(mutation):
    ast.parse(mutated(mutation))


def test_the_table_in_the_documents_has_them_all():
    table = (PROJECT / "docs" / "testing.md").read_text()
    assert [one.name for one in MUTATIONS if f"| {one.name} |" not in table] == []
