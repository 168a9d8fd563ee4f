"""The endpoint's answers where there is nothing to read."""

from __future__ import annotations

from sanic_reaper.state import health
from sanic_reaper.worker.endpoint import Endpoint


def test_a_main_that_has_no_place_to_write_to():
    answer = Endpoint("", "run")._judge(health.live)
    assert answer.status == 503
    assert answer.body == b"main has no directory for its state files; its log says why\n"
