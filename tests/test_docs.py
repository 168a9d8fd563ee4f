"""The documents say what is true: their tables, their commands and their links."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from sanic.config import DEFAULT_CONFIG
from support import tables

import sanic_reaper
from sanic_reaper.config import KEYS, Settings
from sanic_reaper.events import NAMES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SUPERVISION = (ROOT / "docs" / "supervision.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("path", tables.documents(), ids=lambda path: path.name)
def test_each_setting_has_the_row_that_the_code_has(path):
    """`python -m support.tables`, in `tests`, writes them."""
    assert tables.rewritten(path) == path.read_text()


def test_readme_has_each_setting_with_the_default_that_holds():
    rows = re.findall(r"^\| `(REAPER_\w+)` \| .+? \| `(.+?)`", README, re.MULTILINE)
    assert [key for key, _ in rows] == list(KEYS)
    shown = {key: ast.literal_eval(text) for key, text in rows if "GRACEFUL" not in text}
    assert Settings.read(shown) == Settings.read(DEFAULT_CONFIG)
    grace = DEFAULT_CONFIG["GRACEFUL_SHUTDOWN_TIMEOUT"]
    more = Settings.read(DEFAULT_CONFIG).shutdown_timeout - grace
    assert f"| `GRACEFUL_SHUTDOWN_TIMEOUT` + {more:g} |" in README


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = re.findall(r"^.*/pytest.*$", README, re.MULTILINE)
    assert command in (ROOT / ".ci" / "run").read_text()


def test_the_example_of_the_readme_is_a_server():
    (example,) = re.findall(r"^```python\n(from sanic import.*?)```", README, re.DOTALL | re.M)
    names: dict[str, object] = {"__name__": "readme"}
    exec(compile(example, "<the example>", "exec"), names)
    assert names["app"].ctx is not None
    assert names["app"].ext.extensions[0].name == "reaper"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def headings(document: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them from its headings."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_headings_lead_somewhere(document):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text()):
        page = document.parent / target if target else document
        assert anchor in headings(page), f"{target}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document):
    """`main/x.py` is a module of the package, or a file of the tests or the project."""
    if document.name == "CHANGELOG.md":  # which tells of the past
        return
    for name in re.findall(r"`((?:\w+/)+\w+\.(?:py|sh))\b", document.read_text()):
        package = Path(sanic_reaper.__file__).parent  # which may be installed elsewhere
        places = (ROOT, package, package.parent, ROOT / "tests")
        assert any((place / name).exists() for place in places), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tests_that_are_named_exist(document):
    for name, test in re.findall(r"`((?:\w+/)*test_\w+\.py)::(\w+)", document.read_text()):
        assert f"def {test}(" in (ROOT / "tests" / name).read_text(), f"{name}::{test}"


def test_the_architecture_names_each_module():
    named = (ROOT / "docs" / "architecture.md").read_text()
    for module in (ROOT / "sanic_reaper").glob("*.py"):
        assert module.name in named or module.name == "__init__.py"


def test_each_event_is_documented():
    named = re.findall(r"^\| `((?:worker|request|orphan)\.\w+)` \|", SUPERVISION, re.MULTILINE)
    assert tuple(named) == NAMES
