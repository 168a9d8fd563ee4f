"""What a type checker makes of a user's module, and what `help` shows."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.programs import said_by

import sanic_reaper

TYPED = Path(__file__).parent / "typed"
HANDLER = "def (app: int, name: str =) -> typing.Coroutine[Any, Any, bytes]"

needs_mypy = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mypy", "_sqlite3")),
    reason="no mypy, or no SQLite, in which it keeps its cache",
)


def checked(module: str, folder: Path) -> str:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(TYPED / module)]
    done = subprocess.run(
        [*command, "--cache-dir", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert not done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@needs_mypy
@pytest.mark.timeout(600)
def test_a_users_module_is_typed(folder):
    found = checked("user_module.py", folder)
    assert "Success: no issues found" in found
    revealed = [re.sub(r"[*?]", "", line) for line in re.findall(r'Revealed type is "(.*)"', found)]
    assert revealed[:3] == [HANDLER] * 3, "a handler keeps its type"
    assert revealed[3].startswith("def (event: ")
    assert revealed[3].endswith(" -> int")
    assert revealed[4] == "sanic_reaper.handle.ReaperHandle"
    assert "list[" in revealed[5]
    assert "float" in revealed[5]


@needs_mypy
@pytest.mark.timeout(600)
def test_mistakes_are_seen(folder):
    found = re.findall(r"mistakes\.py:(\d+): error: .*\[([\w-]+)\]", checked("mistakes.py", folder))
    lines = (TYPED / "mistakes.py").read_text().splitlines()
    expected = [
        (str(number), line.partition("  # ")[2])
        for number, line in enumerate(lines, 1)
        if "  # " in line
    ]
    assert len(expected) == 6
    assert found == expected


def test_help_begins_with_what_is_public():
    shown = said_by(
        "import pydoc, sanic_reaper; print(pydoc.plain(pydoc.render_doc(sanic_reaper)))"
    )
    begin = [line.split()[0] for line in shown[: shown.index("PACKAGE CONTENTS")] if line.strip()]
    for name in sanic_reaper.__all__:
        assert name in begin or name == "__version__"
    classes = shown.index("CLASSES")
    assert not any("_HOMES" in line or "TYPE_CHECKING" in line for line in shown[classes:])


def test_every_public_name_has_a_sentence():
    for name in sanic_reaper.__all__:
        if name != "__version__":
            assert getattr(sanic_reaper, name).__doc__, name


def test_the_import_loads_nothing():
    code = "import sys, sanic_reaper; print([m for m in sys.modules if 'sanic' in m])"
    assert said_by(code) == ["['sanic_reaper']"]


@pytest.mark.parametrize("use", ["dir(sanic_reaper)", "hasattr(sanic_reaper, 'detached_envv')"])
def test_looking_around_loads_nothing_either(use):
    code = f"import sys, sanic_reaper; {use}; print([m for m in sys.modules if 'sanic' in m])"
    assert said_by(code) == ["['sanic_reaper']"]
