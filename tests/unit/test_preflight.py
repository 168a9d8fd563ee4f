"""Which limit of a worker's start holds, Sanic's or the Reaper's, as a table."""

from __future__ import annotations

import math

import pytest
from sanic.worker.manager import WorkerManager

from sanic_reaper.compat.sanic_main import threshold
from sanic_reaper.config import Settings
from sanic_reaper.events import Hooks
from sanic_reaper.main.preflight import sweep, with_threshold
from sanic_reaper.state import sweeping


@pytest.mark.parametrize(
    ("limit", "sanics", "holds", "level"),
    [
        (None, None, 60.0, None),
        (None, 120.0, 120.0, "INFO"),
        (None, 60.0, 60.0, None),
        (None, 10.0, 60.0, "WARNING"),
        (10.0, None, 10.0, None),
        (10.0, 120.0, 10.0, "WARNING"),
        (10.0, 10.0, 10.0, None),
        (200.0, 120.0, 200.0, "WARNING"),
        (0, 120.0, None, "WARNING"),
        (None, math.inf, None, "INFO"),
        (None, 1e18, None, "INFO"),
        (10.0, math.inf, 10.0, "WARNING"),
    ],
)
def test_which_limit_holds_and_what_is_said(caplog, limit, sanics, holds, level):
    caplog.set_level("INFO")
    config = {} if limit is None else {"REAPER_STARTUP_TIMEOUT": limit}
    settings = with_threshold(Settings.read(config), limit is not None, sanics)
    assert settings.startup_timeout == holds
    assert [record.levelname for record in caplog.records] == ([level] if level else [])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (300, None),
        (1200, 120.0),
        (50, 5.0),
        ("1200", None),
        (True, None),
        (math.inf, math.inf),
        pytest.param(10**400, math.inf, id="long"),
    ],
)
def test_what_the_user_has_set(monkeypatch, value, seconds):
    monkeypatch.setattr(WorkerManager, "THRESHOLD", value)
    assert threshold() == seconds


def fail(*_: object) -> None:
    raise OSError("no descriptors")


def test_a_sweep_that_fails_does_not_stop_the_start(monkeypatch, lines):
    monkeypatch.setattr(sweeping, "sweep_for", fail)
    sweep("Shop", Hooks([]))
    assert lines == ["[reaper] leftovers of earlier runs can't be swept: OSError('no descriptors')"]
