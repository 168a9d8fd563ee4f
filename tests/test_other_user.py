"""Main gives up being root, in a listener: it may then signal none of what it has started.

Each step of the stop survives the failure of the one before, and the watchdog, which is still root,
does what main may not.
"""

from __future__ import annotations

import os
from signal import SIGTERM

import pytest
from support.marks import methods
from support.server import START, SUPERVISED

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, which main gives up"),
    pytest.mark.root,
]

EVENTS = ("main_process_start", "main_process_ready", "main_process_stop")


@pytest.mark.parametrize("action", ["setuid", "setuid-alone"])
@pytest.mark.parametrize("event", EVENTS)
@methods
def test_a_server_whose_main_has_become_another_user_stops(launch, method, event, action):
    """`alone`: it can't start a thread either. Before workers start, their start fails: the socket
    of the SyncManager is root's, with plain Sanic too."""
    server = launch(SUPERVISED.with_(method=method, workers=1, listeners={event: action}))
    if event == "main_process_stop":
        server.wait_serving()
        server.send(SIGTERM)
    assert server.exit_code(START) == (0 if event == "main_process_stop" else 1)
    server.wait_gone()
