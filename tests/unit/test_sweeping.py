"""What is kept of earlier runs: real files, of mains that are gone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sanic_reaper import state
from sanic_reaper.state import statedir, sweeping, view

DAY = 86400.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return Path(statedir.make())


def leave(place: Path, run: str, app: str = "Shop", directory: str = "/srv", **fields: object):
    """A run whose main is gone: nobody has this creation time."""
    facts = {
        "version": state.VERSION,
        "run": run,
        "app": app,
        "pid": os.getpid(),
        "start": 1,
        "boot": state.boot(),
        "namespace": state.namespace(),
        "began": time.monotonic() - 60,
        "directory": directory,
        **fields,
    }
    (place / f"{run}.state").write_text(state.line("server", **facts))
    for end in (state.BEAT, state.KIN, state.END):
        (place / f"{run}{end}").touch()


def forget(place: Path) -> set[str]:
    """Start the shop; return which runs are still told of."""
    sweeping._forget_old("Shop", "/srv", view.servers([os.geteuid()]))
    assert {path.stem for path in place.iterdir()} == {path.stem for path in place.glob("*.state")}
    return {path.stem for path in place.glob("*.state")}


def test_the_last_run_is_kept_for_its_report(place):
    now = time.monotonic()
    for number, began in enumerate((now - 30, now - 20, now - 10)):
        leave(place, f"run{number}", began=began)
    assert forget(place) == {"run2"}


def test_other_apps_keep_theirs(place):
    leave(place, "mine")
    leave(place, "other", app="Bakery", began=time.monotonic() - DAY)
    leave(place, "elsewhere", directory="/home", began=time.monotonic() - DAY)
    assert forget(place) == {"mine", "other", "elsewhere"}


def test_what_is_old_goes(place):
    leave(place, "old", app="Bakery", began=time.monotonic() - 8 * DAY)
    leave(place, "of another boot", app="Bakery", boot="another")
    assert forget(place) == set()


def test_who_lives_is_not_touched(place):
    start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    leave(place, "first", start=start, began=time.monotonic() - 8 * DAY)
    leave(place, "second", start=start)
    assert forget(place) == {"first", "second"}


def test_what_is_not_understood_is_left_alone(place):
    leave(place, "newer", version=state.VERSION + 1)
    (place / "broken.state").write_text("server\tpid=none\n")
    sweeping._forget_old("Shop", "/srv", view.servers([os.geteuid()]))
    assert (place / "newer.state").exists()
    assert (place / "broken.state").exists()
