"""The documents say what is true: their tables, their commands and their links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sanic.config import DEFAULT_CONFIG

import sanic_reaper
from sanic_reaper.config import KEYS, Settings
from sanic_reaper.events import NAMES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SUPERVISION = (ROOT / "docs" / "supervision.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def documented_defaults() -> dict[str, str]:
    return dict(re.findall(r"^\| `(REAPER_\w+)` \| (.+?) \|", README, re.MULTILINE))


def test_each_key_has_its_row_with_its_default():
    defaults = Settings.read(DEFAULT_CONFIG)
    grace = DEFAULT_CONFIG["GRACEFUL_SHUTDOWN_TIMEOUT"]
    assert documented_defaults() == {
        "REAPER_ENABLED": f"`{defaults.enabled}`",
        "REAPER_STARTUP_TIMEOUT": f"`{defaults.startup_timeout}`",
        "REAPER_SHUTDOWN_TIMEOUT": f"`GRACEFUL_SHUTDOWN_TIMEOUT` + "
        f"{defaults.shutdown_timeout - grace:g}",
        "REAPER_ORPHAN_GRACE": f"`{defaults.orphan_grace}`",
        "REAPER_PDEATHSIG": '`"SIGTERM"`',
        "REAPER_HANDLER_TIMEOUT": f"`{defaults.handler_timeout}`",
        "REAPER_SLOW_HANDLER": f"`{defaults.slow_handler}`",
        "REAPER_STARTUP_RETRIES": f"`{defaults.startup_retries}`",
        "REAPER_RESPAWN": f"`{defaults.respawn}`",
        "REAPER_RESPAWN_LIMIT": f"`{defaults.respawn_limit}`",
        "REAPER_RESPAWN_WINDOW": f"`{defaults.respawn_window}`",
        "REAPER_HEARTBEAT_TIMEOUT": f"`{defaults.heartbeat_timeout}`",
        "REAPER_BLOCKED_WARNING": f"`{defaults.blocked_warning}`",
        "REAPER_MAX_LIFETIME": f"`{defaults.max_lifetime}`",
        "REAPER_MAX_REQUESTS": f"`{defaults.max_requests}`",
        "REAPER_MAX_RSS": f"`{defaults.max_rss}`",
        "REAPER_RECYCLE_JITTER": f"`{defaults.recycle_jitter}`",
        "REAPER_SWEEP": f"`{defaults.sweep}`",
        "REAPER_ENDPOINT": '`""`',
    }
    assert set(KEYS) == set(documented_defaults())


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
        places = (ROOT, Path(sanic_reaper.__file__).parent, ROOT / "tests")
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
    named = re.findall(r"^\| `((?:worker|orphan)\.\w+)` \|", SUPERVISION, re.MULTILINE)
    assert tuple(named) == NAMES


def test_keys_have_the_same_default_in_each_document():
    rows = re.findall(r"^\| `(REAPER_\w+)` \| (.+?) \|", SUPERVISION, re.MULTILINE)
    assert rows
    assert dict(rows).items() <= documented_defaults().items()
