"""A server that an exception ends says so: by its exit code, in its log, in its report."""

from __future__ import annotations

import errno
import os
import sys

import pytest
from support.server import START, SUPERVISED, Subject

FEW_DESCRIPTORS = ["sh", "-c", 'ulimit -n 40; exec "$0" app.py', sys.executable]


def reported(server) -> tuple[int, str]:
    end = server.ask("report", "--json").data["server"]
    return end["exit_code"], end["reason"]


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_main_process_without_descriptors(launch, method):
    server = launch(SUPERVISED.with_(method=method, workers=12), argv=FEW_DESCRIPTORS)
    assert server.exit_code(START) == 1
    server.wait_gone()
    code, reason = reported(server)
    assert code == 1
    assert os.strerror(errno.EMFILE) in reason
    assert any(os.strerror(errno.EMFILE) in line for line in server.errors())


FAILING: dict[str, tuple[Subject, int]] = {
    "raises in main_process_start": (
        SUPERVISED.with_(listeners={"main_process_start": "raise"}),
        1,
    ),
    "raises in main_process_ready": (
        SUPERVISED.with_(listeners={"main_process_ready": "raise"}),
        1,
    ),
    "exits in main_process_ready": (
        SUPERVISED.with_(listeners={"main_process_ready": "sys.exit"}),
        0,
    ),
}


@pytest.mark.parametrize("failure", FAILING)
def test_a_main_process_that_fails_before_its_loop_begins(launch, failure):
    subject, code = FAILING[failure]
    server = launch(subject)
    assert server.exit_code(START) == code
    server.wait_gone()
    assert reported(server)[0] == code
