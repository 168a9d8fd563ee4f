"""The first line of a server's log."""

from __future__ import annotations

import pytest

from sanic_reaper.config import Settings
from sanic_reaper.main.greeting import greeting


@pytest.mark.parametrize(
    ("config", "limits"),
    [
        ({}, "a worker has 60 s to start, a stop takes 20 s at most"),
        ({"REAPER_STARTUP_TIMEOUT": 0}, "a start has no limit, a stop takes 20 s at most"),
        (
            {"REAPER_HANDLER_TIMEOUT": 5, "REAPER_HEARTBEAT_TIMEOUT": 2.5, "REAPER_RESPAWN": False},
            "a worker has 60 s to start, a start handler has 5 s, a stop takes 20 s at most, "
            "a worker whose event loop is blocked for 2.5 s is replaced, "
            "a worker that dies is not replaced",
        ),
        (
            {"REAPER_MAX_LIFETIME": 3600, "REAPER_MAX_REQUESTS": 9, "REAPER_MAX_RSS": "1KiB"},
            "a worker has 60 s to start, a stop takes 20 s at most, "
            "a worker is recycled after 3600 s or 9 requests or 1024 bytes of memory",
        ),
    ],
)
def test_it_names_the_limits_that_hold(config, limits) -> None:
    said = greeting("1.2.3", "spawn", Settings.read(config))
    assert said == f"sanic-reaper 1.2.3, start method spawn: {limits}"
