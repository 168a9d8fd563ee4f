"""What others have written: numbers of all kinds, and text that a terminal would obey."""

from __future__ import annotations

import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_reaper import marks, untrusted
from sanic_reaper.log import log
from sanic_reaper.main.notify import Notifier, ping_interval_of
from sanic_reaper.tree import marked
from sanic_reaper.tree.process import Handle

WRONG = ["", "-", "²", "٣", "1_0", " 1", "+1", "1.0", "0x1", "nan", "inf", "9" * 20, "9" * 5000]


@pytest.mark.parametrize("text", [*WRONG, "-1"])
def test_what_is_no_whole_number(text):
    with pytest.raises(ValueError, match=r"no whole number|not between"):
        untrusted.whole(text)


@pytest.mark.parametrize(
    ("text", "least", "most", "found"),
    [("0", 0, 9, 0), ("9", 0, 9, 9), ("10", 0, 9, None), ("-5", -5, 5, -5), ("-6", -5, 5, None)],
)
def test_a_range(text, least, most, found):
    if found is not None:
        assert untrusted.whole(text, least, most) == found
    else:
        with pytest.raises(ValueError, match="not between"):
            untrusted.whole(text, least, most)


@pytest.mark.parametrize("text", [*WRONG, "0", "4194305", "99999999999999999999"])
def test_nobody_has_such_a_pid(text):
    with pytest.raises(ValueError, match=r"no whole number|not between"):
        untrusted.pid(text)


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-inf", "1e13", "-1e13", "1" * 5000])
def test_what_is_no_moment(text):
    with pytest.raises(ValueError, match=r"no moment|too long|could not convert"):
        untrusted.number(text)


@given(st.text())
def test_a_number_that_is_taken_can_be_used(text):
    try:
        pid = untrusted.pid(text)
    except ValueError:
        return
    Handle(pid, 1, None).alive()  # `os.kill` takes it


@given(st.text())
def test_what_is_shown_is_printable(text):
    assert untrusted.printable(text).isprintable()
    assert untrusted.printable_lines(text).replace("\n", "").replace("\t", "").isprintable()


def test_a_line_of_the_log_is_printable(caplog):
    with caplog.at_level(logging.INFO, logger="sanic.root"):
        log.info("%s has ended:\n\t%s%%", "\x1b[2J\rworker\u202e", 5)
        log.info("\x1b[31m")
    [first, second] = [record.getMessage() for record in caplog.records]
    assert first == "[reaper] \\x1b[2J\\rworker\\u202e has ended:\n\t5%"
    assert second == "[reaper] \\x1b[31m"
    assert caplog.records[0].filename == os.path.basename(__file__), "who logs is still known"


# -- environments ---------------------------------------------------------------------------------

NAMES = (marks.RUN, marks.MAIN, marks.OWNER, marks.DETACHED)
anything = st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
environments = st.lists(st.tuples(st.sampled_from(NAMES), anything)).map(
    lambda pairs: b"\0".join(name.encode() + b"=" + value for name, value in pairs)
)


@given(environments)
def test_whatever_stands_in_an_environment(raw):
    marked.run_of(raw)
    marked.owner(raw)
    found = marked.main_of(raw)
    if found is not None:
        Handle(*found.identity, None).alive()


@pytest.mark.parametrize("pid", [*WRONG, "0", "4194305"])
def test_a_pid_in_an_environment_that_nobody_has(pid):
    assert marked.main_of(f"{marks.MAIN}={pid}\t1\tShop\t/srv".encode()) is None
    assert marked.owner(f"{marks.OWNER}={pid}:1".encode()) is None


@given(st.text())
def test_whatever_the_service_manager_says(text):
    assert 0.0 <= ping_interval_of({"WATCHDOG_USEC": text}) < 1e13
    notifier = Notifier.of({"NOTIFY_SOCKET": text or "@", "WATCHDOG_USEC": text})
    assert 0.05 <= notifier.heartbeat_interval(0.0) <= 1.0 or not notifier.ping_interval
    assert notifier._send("READY=1") in (False, True)


@pytest.mark.parametrize("usec", [*WRONG[:-2], "9" * 20, "9" * 5000, "-1"])
def test_an_interval_that_is_none(usec):
    assert ping_interval_of({"WATCHDOG_USEC": usec}) == 0.0
