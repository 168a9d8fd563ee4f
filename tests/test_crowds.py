"""Hundreds of processes: what the watchdog has to say of them is more than the channel holds."""

from __future__ import annotations

import re
from collections import Counter
from signal import SIGTERM

from support.census import wait_until
from support.server import SUPERVISED

MANY = 350
LONG = 60.0
"""A limit of the stop that no test waits for."""


def test_a_stop_with_hundreds_of_leftovers_ends_with_the_last_and_not_at_its_limit(launch):
    """Main is slow to listen, so the last word of the watchdog finds the channel full."""
    server = launch(
        SUPERVISED.with_(
            method="fork",
            workers=1,
            children=["plain"] * MANY,
            listeners={"main_process_stop": "log-slowly:0.015"},
        ).with_config(REAPER_SHUTDOWN_TIMEOUT=LONG)
    )
    server.wait_serving()
    wait_until(lambda: len(server.children) == MANY, 30, "the children")
    server.send(SIGTERM)
    assert server.exit_code(LONG - 15) == 0
    server.wait_gone()
    told = Counter(re.findall(r"SIGTERM to sleep \[(\d+)\]", server.output()))
    assert len(told) == MANY
    assert set(told.values()) == {1}
    assert f"{MANY} leftover processes" in server.output()
