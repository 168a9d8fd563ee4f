"""The report, without a server: records in, an report, a drawing and a page out."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.marks import by_itself
from support.programs import said_by

from sanic_reaper import cli, state
from sanic_reaper.commands.report import write_whole
from sanic_reaper.commands.terminal import SCHEMA
from sanic_reaper.report.drawing import TICKS, place, rows, tick_label, ticks, windows
from sanic_reaper.report.page import page
from sanic_reaper.report.process import fate
from sanic_reaper.report.record import record
from sanic_reaper.report.run_report import OUTCOMES, RunReport
from sanic_reaper.report.text import LINES, STEPS, WORKERS, Text
from sanic_reaper.report.words import clock, duration, how_it_started
from sanic_reaper.state import statedir
from sanic_reaper.state.server import Server

T = 1000.0
"""When the servers of these tests have begun, on the monotonic clock."""


def server(**more):
    return "server", {
        "version": str(state.VERSION),
        "run": "abc",
        "app": "Shop",
        "pid": "1",
        "start": "10",
        "phase": "serving",
        "began": str(T),
        "clock": "1000000000",
        "wanted": "1",
        **{key: str(value) for key, value in more.items()},
    }


def process(pid, role, name, began, **more):
    fields = {"pid": pid, "start": pid * 10, "role": role, "name": name, "began": began, **more}
    return "process", {key: str(value) for key, value in fields.items()}


def of(kind, pid, **more):
    fields = {"pid": pid, "start": pid * 10, **more}
    return kind, {key: str(value) for key, value in fields.items()}


def event(time, name, process, pid, **more):
    fields = {"time": time, "name": name, "process": process, "pid": pid, **more}
    return "event", {key: str(value) for key, value in fields.items()}


WORKER = "Sanic-Server-0-0"
MAIN = process(1, "main", "main", T)
HELPERS = [
    process(2, "watchdog", "watchdog", T + 0.01),
    process(3, "helper", "SyncManager-1", T + 0.1, ended=T + 33),
]
FIRST = [
    process(4, "worker", WORKER, T + 0.2, ended=T + 20, exit_code=-9, state="ended", requests=7),
    of("start", 4, imported=T + 1.2, ready=T + 5.2),
    of("handler", 4, name="load", file="/srv/app.py", line=12, began=T + 1.2, ended=T + 4.2),
    of("handler", 4, name="warm", began=T + 4.2, ended=T + 5.2, beside=1),
    of("standstill", 4, began=T + 8, ended=T + 11),
]
SECOND = [
    process(
        5,
        "worker",
        WORKER,
        T + 20.1,
        asked=T + 30,
        ended=T + 33,
        exit_code=-9,
        killed="did not stop in time",
        killer="watchdog",
        state="ended",
    ),
    of("start", 5, imported=T + 21, ready=T + 23),
]
EVENTS = [
    event(T + 0.2, "worker.started", WORKER, 4),
    event(T + 5.2, "worker.ready", WORKER, 4, seconds=5.0),
    event(T + 20, "worker.died", WORKER, 4, reason=f"{WORKER} [4] has died: by SIGKILL, somehow"),
    event(T + 20.1, "worker.started", WORKER, 5),
    event(T + 23, "worker.ready", WORKER, 5, seconds=2.9),
    event(T + 23, "worker.replaced", WORKER, 5, reason="the one before has died"),
    event(T + 33, "worker.killed", WORKER, 5, reason="did not stop in time"),
    event(T + 32, "orphan.killed", "sleep", 77, reason="descends from main"),
]
STOPPED = server(
    phase="stopped",
    began_serving=T + 5,
    began_stopping=T + 30,
    began_stopped=T + 33.1,
    code=0,
    words="stopping on SIGTERM",
)
RECORDS = [STOPPED, MAIN, *HELPERS, *FIRST, *SECOND, *EVENTS]
KILLED = server(began_serving=T + 5)
END = [
    ("log", {"time": str(T + 40), "level": "WARNING", "text": "main [1] has died; stopping it"}),
    ("ended", {"time": str(T + 40.5), "pid": "5", "start": "50", "killed": "is stuck"}),
    ("gone", {"time": str(T + 41)}),
]


def report(records=RECORDS, end=(), now=T + 50, lives=False, is_here=True, beat=None) -> RunReport:
    return RunReport(Server(0, "/run/x", records, end, beat=beat), now, lives, is_here)


SAID = {
    "starting": "; starting",
    "serving": "; serving since 2001",
    "stopping": "; stopping",
    "stopped": "; stopped on SIGTERM, the stop took 3.10 s, exit code 0",
    "failed": "; it did not start, exit code 1",
    "ended": "; ended by itself, exit code 75",
    "killed": "; main died at 2001",
    "unknown": "; how it ended is not known",
}

# -- the report ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "lives", "is_here", "end", "outcome"),
    [
        (server(phase="starting"), True, True, [], "starting"),
        (KILLED, True, True, [], "serving"),
        (server(phase="stopping"), True, True, [], "stopping"),
        (STOPPED, False, True, [], "stopped"),
        (STOPPED, True, True, [], "stopped"),  # the script that started it goes on
        (server(phase="stopped", code=1, words="it did not start"), False, True, [], "failed"),
        (server(phase="stopped", code=75, began_serving=T + 1), False, True, [], "ended"),
        (KILLED, False, True, END, "killed"),
        (KILLED, False, True, [], "killed"),
        (server(phase="stopping"), False, True, [], "killed"),
        (KILLED, False, False, [], "unknown"),
        (KILLED, False, False, END, "killed"),
        (STOPPED, False, False, [], "stopped"),
    ],
)
def test_how_it_ended(record, lives, is_here, end, outcome):
    found = report([record, MAIN], end, lives=lives, is_here=is_here, beat=T + 2)
    assert found.outcome == outcome
    assert set(SAID) == set(OUTCOMES)
    assert SAID[outcome] in str(Text(found)).splitlines()[1]


def test_the_story_of_a_stopped_server():
    found = report()
    assert (found.seconds, found.seconds_of_stop) == pytest.approx((33.1, 3.1))
    first, second = found.workers
    assert second.before is first
    assert fate(first) == "by SIGKILL, somehow"
    assert fate(second) == "killed by the watchdog: did not stop in time"
    assert [one.kind for one in first.segments] == [
        "starting", "import", "handler", "background", "serving", "blocked",
    ]  # fmt: skip
    assert [one.kind for one in second.segments] == ["starting", "import", "serving", "stopping"]
    assert [one.kind for one in first.marks] == ["killed"]
    assert [one.kind for one in second.marks] == ["replaced", "killed"]
    assert [one.kind for one in found.processes[0].marks] == ["orphan"]


def test_main_that_was_killed():
    found = report([KILLED, MAIN, *HELPERS[:1], *FIRST, SECOND[0]], END)
    assert found.died == T + 40
    assert found.seconds_of_stop == pytest.approx(1)
    assert [one.kind for one in found.processes[0].marks] == ["died"]
    alive = process(5, "worker", WORKER, T + 20.1)
    found = report([KILLED, MAIN, alive], END)
    [worker] = found.workers
    assert worker.ended == T + 40.5, "the watchdog has seen its end"
    assert fate(worker) == "killed by the watchdog: is stuck"
    assert worker.asked == found.died
    text = str(Text(found))
    assert "main died at" in text
    assert "AFTER MAIN'S DEATH  nothing was left after 1.00 s" in text
    assert "main [1] has died; stopping it" in text


def test_main_and_watchdog_that_were_killed():
    text = str(Text(report([KILLED, MAIN, *FIRST], beat=T + 25)))
    assert "the watchdog has left no word" in text


def test_a_watchdog_that_is_not_at_its_end():
    text = str(Text(report([KILLED, MAIN], END[:-1])))
    assert "AFTER MAIN'S DEATH  not over, as far as the watchdog has written (0.50 s)" in text


def test_a_server_that_ended_by_itself_says_why():
    record = server(phase="stopped", code=75, words="a worker did not start")
    found = report([record, MAIN])
    assert "; a worker did not start, exit code 75" in str(Text(found))
    served = {**record[1], "began_serving": str(T + 1)}
    found = report([("server", served), MAIN])
    assert "; ended by itself, a worker did not start, exit code 75" in str(Text(found))


def test_an_event_loop_that_stands_still_at_this_moment():
    """It has no end yet: it lasts until now, or until the worker is told to go."""
    blocked = {"state": "blocked", "since": T + 40}
    for more, until in (({}, T + 50), ({"asked": T + 45}, T + 45)):
        worker = process(4, "worker", WORKER, T, **blocked, **more)
        [found] = report([KILLED, MAIN, worker, of("start", 4, ready=T + 5)], lives=True).workers
        [one] = [segment for segment in found.segments if segment.kind == "blocked"]
        assert (one.began, one.ended) == (T + 40, until)


def test_a_standstill_of_no_length_is_not_drawn():
    """A clock that stood still, or a worker that was told to go in the moment when it stopped."""
    worker = process(4, "worker", WORKER, T, asked=T + 40, state="blocked", since=T + 45)
    stood = [of("standstill", 4, began=T + began, ended=T + 8) for began in (7, 8)]
    records = [KILLED, MAIN, worker, of("start", 4, ready=T + 5), *stood]
    [found] = report(records, lives=True).workers
    blocked = [one for one in found.segments if one.kind == "blocked"]
    assert [(one.began, one.ended) for one in blocked] == [(T + 7, T + 8)]


def test_a_worker_that_is_up_before_its_background_work_is_done():
    worker = process(4, "worker", WORKER, T)
    records = [KILLED, MAIN, worker, of("start", 4, imported=T + 1, up=T + 3)]
    [found] = report(records, lives=True).workers
    assert how_it_started(found) == "up after 3.00 s, and not ready yet"


def test_a_line_of_the_watchdog_without_a_time_that_can_be_is_left_out():
    times = ("soon", "5e11", str(T + 41))
    lines = [("log", {"time": time, "text": f"at {time}"}) for time in times]
    text = str(Text(report([KILLED, MAIN], [*END[:1], *lines])))
    assert f"at {T + 41}" in text
    assert "at soon" not in text
    assert "at 5e11" not in text


def test_a_moment_that_no_calendar_has():
    assert clock(1e300) == "?"
    assert clock(float("nan")) == "?"
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock(0.0))


def test_what_has_happened_to_a_process_that_is_forgotten_is_told_all_the_same():
    """Of the dead the server keeps the last; of what has happened, more."""
    long_ago = event(T + 9, "worker.died", WORKER, 4, reason=f"{WORKER} [4] has died: by SIGKILL")
    found = report([KILLED, MAIN, long_ago], lives=True)
    assert f"died  {WORKER} [4]  has died: by SIGKILL" in str(Text(found))
    assert not found.processes[0].marks, "that is nothing that main has left behind"


def test_a_worker_that_was_added_while_the_server_served():
    added = [
        process(6, "worker", "Sanic-Server-1-0", T + 20),
        of("start", 6, imported=T + 21, ready=T + 23),
        of("handler", 6, name="load", began=T + 21, ended=T + 22.5),
        event(T + 20, "worker.started", "Sanic-Server-1-0", 6),
        event(T + 23, "worker.ready", "Sanic-Server-1-0", 6),
    ]
    text = str(Text(report([KILLED, MAIN, *FIRST[:2], *added], lives=True)))
    words = "Sanic-Server-1-0 [6]  up after 3.00 s: import 1.00 s, load 1.50 s"
    assert words in text.partition("MEANWHILE")[2]
    assert "started  Sanic" not in text, "its start is told with its end"


def test_of_all_that_happened_meanwhile_the_last_is_told():
    records = [KILLED, MAIN]
    records += [event(T + 10 + n, "orphan.killed", f"child-{n}", 500 + n) for n in range(LINES + 3)]
    text = str(Text(report(records, lives=True)))
    assert "  3 earlier ones are left out (--full)" in text
    assert "child-2 " not in text
    assert all(f"child-{n} " in text for n in range(3, LINES + 3))
    full = str(Text(report(records, lives=True), full=True))
    assert full.count("left behind") == LINES + 3
    assert "are left out" not in full


def test_a_start_that_failed_and_was_tried_again():
    failed = process(
        4, "worker", WORKER, T, ended=T + 2, exit_code=1, failure="load failed\nTraceback\n  lines"
    )
    broken = of("handler", 4, name="load", began=T + 1, ended=T + 2, failed=1)
    again = [process(5, "worker", WORKER, T + 3), of("start", 5, imported=T + 4, ready=T + 5)]
    text = str(Text(report([KILLED, MAIN, failed, broken, *again], lives=True)))
    assert "not started" in text
    assert "load failed (+2 lines: --full)" in text
    assert "Traceback" not in text
    assert "Traceback" in str(Text(report([KILLED, MAIN, failed, broken, *again]), full=True))


def test_the_text_of_a_run():
    text = str(Text(report()))
    assert text.startswith("Shop  main [1]")
    assert "stopped on SIGTERM, the stop took 3.10 s, exit code 0" in text
    assert "START  serving after 5.00 s" in text
    assert re.search(r"3\.00 s  load +/srv/app\.py:12", text)
    assert re.search(r"1\.00 s  warm +in the background", text)
    assert f"died      {WORKER} [4]  has died: by SIGKILL, somehow" in text
    assert "in place of [4], up after 2.90 s" in text
    assert re.search(r"\+3\.00 s  worker .*killed by the watchdog: did not stop in time", text)
    assert "orphan" not in text
    assert "left behind" in text
    assert max(map(len, text.splitlines())) < 160


def test_the_text_of_many_workers_is_short():
    many = [STOPPED, MAIN]
    for pid in range(10, 210):
        name = f"Sanic-Server-{pid}-0"
        ready = T + 2 + pid / 100
        exit_code = -9 if pid == 42 else 0
        fields = {"asked": T + 30, "ended": T + 31, "exit_code": exit_code}
        many += [process(pid, "worker", name, T, **fields), of("start", pid, ready=ready)]
        for number in range(30):
            many.append(of("handler", pid, name=f"h{number}", began=T, ended=T + number / 20))
    text = str(Text(report(many)))
    assert text.count("Sanic-Server-") == 2 * WORKERS
    assert f"and {200 - WORKERS} more" in text
    assert f"and {30 - STEPS} more" in text
    assert "Sanic-Server-42-0" in text.partition("STOP")[2], "whoever was hurt is shown"
    assert len(text.splitlines()) < 120
    assert str(Text(report(many), full=True)).count("Sanic-Server-") == 400


def test_colours_only_where_they_are_wanted():
    assert "<red>" not in str(Text(report()))
    painted = str(Text(report(), lambda text, colour: f"<{colour}>{text}</{colour}>"))
    assert "<red>killed by the watchdog: did not stop in time</red>" in painted


def test_nothing_in_a_name_speaks_to_the_terminal():
    evil = "\x1b]0;owned\x07\x9b31m\u202e"
    records = [server(app=evil), MAIN, process(4, "worker", evil, T)]
    text = str(Text(report(records, lives=True)))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "owned" in text


def test_the_requests_that_were_lost():
    lost = [of("lost", 5, text=f"lost: GET /{at} (31 s), awaits <db.py>:40") for at in range(41)]
    found = report([*RECORDS, *lost])
    text, full, html = str(Text(found)), str(Text(found, full=True)), page(found)
    assert f"LOST REQUESTS\n  {WORKER} [5]  GET /0 (31 s), awaits <db.py>:40\n" in text
    assert "  and 1 more lines (--full)\n" in text
    assert f"  {WORKER} [5]  GET /40 (31 s)" in full
    assert f"<i>{WORKER} [5]</i> GET /40 (31 s), awaits &lt;db.py&gt;:40" in html
    assert [len(one["lost"]) for one in record(found)["processes"] if one["pid"] == 5] == [41]
    assert "LOST REQUESTS" not in str(Text(report()))
    assert "Lost requests" not in page(report())


def test_the_record_is_all_json():
    found = record(report())
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["server"]["began"] == 1000000000 + T
    assert found["server"]["stop_seconds"] == pytest.approx(3.1)
    assert found["processes"][-1]["in_place_of"] == 4
    assert found["processes"][-1]["killed_by"] == "watchdog"


def test_each_key_of_the_record_is_documented():
    document = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    section = document.partition("### What `report --json` prints")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section))
    found = record(report())
    handler = next(one["handlers"][0] for one in found["processes"] if one["handlers"])
    standstill = {"began": 0, "ended": 0}
    for keys in (found, found["server"], found["processes"][0], found["events"][0]):
        assert set(keys) <= named
    assert set(handler) | set(standstill) <= named
    assert set(OUTCOMES) <= named


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.00 s"),
        (1.234, "1.23 s"),
        (99.994, "99.99 s"),
        (99.999, "1 min 40 s"),
        (3599.7, "1 h 0 min"),
        (7260, "2 h 1 min"),
        (86400 * 3 + 7200, "3 d 2 h"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


# -- the drawing ----------------------------------------------------------------------------------


def test_a_short_run_has_one_time_line_and_a_long_one_three():
    brief = server(phase="stopped", began_serving=T + 5, began_stopping=T + 5.5,
                   began_stopped=T + 6)  # fmt: skip
    assert [one.key for one in windows(report([brief, MAIN]))] == ["run", "stop"]
    long = server(phase="stopped", began_serving=T + 2, began_stopping=T + 864000,
                  began_stopped=T + 864003)  # fmt: skip
    whole, start, stop = windows(report([long, MAIN, *HELPERS, *FIRST]))
    assert start.ended - start.began < 10
    assert stop.ended - stop.began < 4
    assert whole.ended - whole.began == pytest.approx(864003)
    assert [tick.label for tick in ticks(whole)] == ["0 d", "2 d", "4 d", "6 d", "8 d", "10 d"]
    assert "0 s" in [tick.label for tick in ticks(stop)]


def test_the_rows_of_a_window_are_those_that_lived_in_it():
    found = report()
    _, start, stop = windows(found)
    assert 5 not in [row.process.pid for row in rows(found, start)]
    assert 4 not in [row.process.pid for row in rows(found, stop)]
    [worker] = [row for row in rows(found, start) if row.process.pid == 4]
    kinds = {bar.kind: bar for bar in worker.bars}
    assert kinds["import"].width == pytest.approx(100 / (start.ended - start.began), rel=0.01)
    assert kinds["handler"].x == pytest.approx(place(start, T + 1.2))


@pytest.mark.parametrize(
    ("seconds", "step", "label"),
    [
        (0, 0.5, "0.0 s"),
        (-0.5, 0.5, "\u22120.5 s"),
        (0.25, 0.05, "0.25 s"),
        (30, 10, "30 s"),
        (130, 10, "2:10"),
        (120, 60, "2 min"),
        (5400, 1800, "1:30 h"),
        (7200, 3600, "2 h"),
        (90000, 3600, "1 d 1 h"),
        (172800, 86400, "2 d"),
    ],
)
def test_labels_of_ticks(seconds, step, label):
    assert tick_label(seconds, step) == label


@given(st.floats(0.01, 1e9), st.floats(0, 1))
def test_there_are_a_few_ticks_at_different_labels(seconds, zero):
    window = windows(report([STOPPED, MAIN]))[0]
    window = window._replace(ended=T + seconds, zero=T + zero * seconds)
    found = ticks(window)
    assert 1 <= len(found) <= TICKS + 2
    assert len({tick.label for tick in found}) == len(found)
    assert all(0 <= tick.x <= 100 for tick in found)


# -- the page -------------------------------------------------------------------------------------


def tree(html: str) -> ElementTree.Element:
    assert html.startswith("<!DOCTYPE html>\n")
    return ElementTree.fromstring(html)


def test_the_page_shows_each_process_and_says_the_same_in_words():
    html = page(report())
    found = tree(html)
    images = [one for one in found.iter("svg") if one.get("role") == "img"]
    assert images
    assert all(one[0].tag == "title" and one[0].text for one in images)
    [table] = [one for one in found.iter("table") if one.find("caption") is not None]
    assert len(table.findall("tbody/tr")) == 5
    words = " ".join(table.itertext())
    assert "killed by the watchdog: did not stop in time" in words
    for kind in ("import", "handler", "background", "serving", "blocked", "stopping"):
        assert any(one.get("class") == kind for one in found.iter("rect")), kind


def test_what_happened_comes_first():
    titles = [one.text for one in tree(page(report())).iter("h2")]
    assert titles[:2] == ["What happened", "The whole run"]


def test_host_versions_and_one_clock_with_its_zone():
    facts = {"host": "web-1", "reaper": "0.1.0", "sanic": "25.12.1", "python": "3.13.1"}
    found = report([server(**facts), MAIN], lives=True)
    zone = time.strftime("%z", time.localtime(found.wall(T)))
    for text in (" ".join(tree(page(found)).itertext()), str(Text(found))):
        assert "web-1" in text
        assert "sanic-reaper 0.1.0, Sanic 25.12.1, Python 3.13.1" in text
        assert f" {zone}" in text
    assert record(found)["server"]["host"] == "web-1"
    assert record(found)["server"]["versions"] == {
        "reaper": "0.1.0",
        "sanic": "25.12.1",
        "python": "3.13.1",
    }


def many_workers(number, slow=()):
    """A server that was stopped in order, with so many workers: each needs a second more."""
    found = [STOPPED, MAIN]
    for at in range(number):
        ended = {"asked": T + 30, "ended": T + 31, "exit_code": 0, "state": "ended"}
        found.append(process(10 + at, "worker", f"Sanic-Server-{at}-0", T + 1, **ended))
        found.append(of("start", 10 + at, imported=T + 2, up=T + 3 + at, ready=T + 3 + at))
    return found


def test_of_many_workers_the_slowest_and_the_median_are_told_and_the_rest_is_folded_away():
    found = tree(page(report(many_workers(12))))
    starts = found.find(".//section[@aria-labelledby='starts']")
    shown = [" ".join(one.itertext()) for one in starts.findall("div/div/h3")]
    assert [one.split()[0] for one in shown] == ["Sanic-Server-11-0", "Sanic-Server-6-0"]
    assert ("the slowest" in shown[0], "the median" in shown[1]) == (True, True)
    assert starts.findtext("details/summary") == "10 more, up after 2.00 s to 12.00 s"
    assert len(starts.findall("details/div/div/h3")) == 10
    table = found.find(".//section[@aria-labelledby='table']")
    assert len(table.findall("table/tbody/tr")) == 1, "main"
    assert table.findtext("details/summary") == "12 more workers, without incident"
    assert len(table.findall("details/table/tbody/tr")) == 12


def test_of_a_few_workers_each_is_told():
    found = tree(page(report(many_workers(3))))
    assert len(found.findall(".//div[@class='start']")) == 3
    assert not found.findall(".//section[@aria-labelledby='starts']/details")
    assert len(found.findall(".//section[@aria-labelledby='table']/table/tbody/tr")) == 4


def test_of_many_workers_that_are_not_up_nobody_is_the_median():
    many = [process(10 + at, "worker", f"Sanic-Server-{at}-0", T + 1) for at in range(12)]
    many += [of("handler", 10 + at, name="load", began=T + 1) for at in range(12)]
    starts = tree(page(report([KILLED, MAIN, *many], lives=True))).find(
        ".//section[@aria-labelledby='starts']"
    )
    shown = [" ".join(one.itertext()) for one in starts.findall("div/div/h3")]
    assert len(shown) == 12
    assert all("not up yet, after" in one for one in shown)
    assert not any("the median" in one or "the slowest" in one for one in shown)
    assert starts.find("details") is None


LOSSES = {
    "nobody": ([], "", "good", "32"),
    "one killed": ([("worker.killed", "stop", 1)], "1 worker was killed", "lossy", "33"),
    "several": (
        [("worker.killed", "hung", 1), ("worker.killed", "stop", 1), ("worker.died", "oom", 3)],
        "2 workers were killed, 3 workers died",
        "lossy",
        "33",
    ),
    "one that hung has died of that": (
        [("worker.killed", "hung", 1), ("worker.died", "hung", 1)],
        "1 worker was killed",
        "lossy",
        "33",
    ),
}


@pytest.mark.parametrize("case", LOSSES)
def test_the_headline_tells_of_the_workers_that_were_lost(case):
    counted, words, kind, colour = LOSSES[case]
    counters = [
        ("counter", {"name": name, "role": "worker", "cause": cause, "value": str(value)})
        for name, cause, value in counted
    ]
    found = report([*many_workers(1), *counters])
    [outcome] = [one for one in tree(page(found)).iter("p") if "outcome" in one.get("class", "")]
    assert outcome.get("class") == f"outcome {kind}"
    assert "".join(outcome.itertext()).endswith(f"; {words}" if words else "exit code 0")
    codes = {"green": "32", "yellow": "33", "red": "31"}
    text = str(Text(found, lambda text, name: f"<{codes.get(name, '')}>{text}" if name else text))
    [line] = [line for line in text.splitlines() if "stopped on SIGTERM" in line]
    assert f"<{colour}>stopped on SIGTERM" in line
    assert (f"; <31>{words}" in line) == bool(words)


def test_those_whom_the_watchdog_killed_when_main_was_gone_are_among_them():
    records = [KILLED, MAIN, *SECOND]
    assert report(records, END).workers_killed == 1


@pytest.mark.parametrize(
    ("name", "legend"),
    [
        ("worker.recycled", ["takes another's place"]),
        ("worker.replaced", ["takes another's place"]),
        ("worker.crashloop", ["died, or was killed"]),
        ("worker.slow", ["reported as slow"]),
        ("worker.blocked", []),  # a bar, not a mark
    ],
)
def test_the_legend_tells_what_each_mark_means(name, legend):
    """Two that look the same have one line, and what is not on the page has none."""
    worker = process(4, "worker", WORKER, T)
    html = page(report([KILLED, MAIN, worker, event(T + 9, name, WORKER, 4)], lives=True))
    [shown] = [one for one in tree(html).iter("ul") if one.get("class") == "legend"]
    assert [one.tail for one in shown.iter("svg") if one.find(".//path") is not None] == legend


def test_the_page_needs_nothing_from_anywhere():
    html = page(report())
    assert not re.search(r"https?:|src=|@import|<script|<link|url\((?!#)", html)


EVIL = "<script>alert(1)</script>&\"'<!-- ]]> \x00\x1b\ud800\ufffe"


def test_what_comes_from_the_run_is_text():
    records = [
        server(app=EVIL, address=EVIL, directory=EVIL, phase="stopped", words=EVIL, code=1),
        MAIN,
        process(4, "worker", EVIL, T, ended=T + 1, exit_code=1, failure=EVIL, killed=EVIL),
        of("handler", 4, name=EVIL, file=EVIL, line=EVIL, began=T, ended=T + 1),
        event(T + 1, "worker.died", EVIL, 4, reason=f"{EVIL}\n{EVIL}"),
        event(T + 1, EVIL, EVIL, 4, reason=EVIL),
    ]
    html = page(report(records))
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    found = tree(html)
    assert not list(found.iter("script"))
    heading = found.find(".//h1")
    assert heading is not None
    assert heading.text == EVIL[:-4].replace("\ufffe", "") + "\ufffd" * 4


def test_two_hundred_processes():
    many = [STOPPED, MAIN]
    many += [process(pid, "worker", f"S-{pid}", T + 1, ended=T + 9) for pid in range(2, 202)]
    html = page(report(many))
    assert len(tree(html).findall(".//ul[@class='rows']/li")) >= 201
    assert len(html) < 1_000_000


words = st.text(max_size=12) | st.sampled_from(
    ["", "nan", "inf", "-1", "0", "1e300", "1000", "1001.5", EVIL, "serving", "stopped", "blocked"]
)
KEYS = """
    state since began ended asked exit_code killed killer failure requests doing doing_since file
    line name reason process time seconds beside failed imported ready level text code words
    phase began_serving began_stopping began_stopped clock role wanted stood_still
"""
keys = st.sampled_from(KEYS.split())


@st.composite
def any_records(draw):
    pids = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True))
    fields = st.dictionaries(keys, words, max_size=8)
    found = [("server", {**server()[1], **draw(fields)})]
    for pid in pids:
        role = draw(st.sampled_from(["main", "worker", "helper", "watchdog", "other"]))
        found.append(("process", {"role": role, **draw(fields), **of("", pid)[1]}))
        for kind in draw(st.lists(st.sampled_from(["handler", "standstill"]), max_size=3)):
            found.append((kind, {**draw(fields), **of("", pid)[1]}))
        for _ in range(draw(st.integers(0, 2))):
            name = draw(st.sampled_from(["worker.died", "worker.slow", "orphan.killed"]) | words)
            found.append(("event", {**draw(fields), "name": name, "pid": str(pid)}))
    for name in draw(st.lists(st.sampled_from(["worker.died", "blocked_seconds"]) | words)):
        found.append(("counter", {"name": name, "value": str(draw(st.floats()))}))
    end = [(draw(st.sampled_from(["log", "ended", "gone"])), draw(fields)) for _ in range(2)]
    return found, end


@settings(max_examples=200, deadline=None)
@given(any_records(), st.booleans(), st.booleans())
def test_whatever_stands_in_a_file_can_be_shown(records, lives, is_here):
    found = report(*records, lives=lives, is_here=is_here, beat=T + 1)
    shown = tree(page(found))
    assert len(shown.findall(".//ul[@class='rows']")) == len(windows(found))
    for rect in shown.iter("rect"):
        if str(rect.get("x", "")).endswith("%"):
            x, width = float(rect.get("x")[:-1]), float(rect.get("width")[:-1])
            assert 0 <= x <= x + width <= 100.01
    for full in (False, True):
        assert str(Text(found, full=full)).endswith("\n")
    json.dumps(record(found), allow_nan=False)


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Nothing but what a test puts there."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    own = os.geteuid()
    monkeypatch.setattr(
        statedir, "places", lambda uid: [f"{tmp_path}/sanic-reaper"] if uid == own else []
    )
    directory = tmp_path / "sanic-reaper"
    directory.mkdir(mode=0o700)
    return directory


def leave(directory, app, clock, namespace=None):
    fields = {**STOPPED[1], "app": app, "run": app, "clock": str(clock), "boot": state.boot(),
              "namespace": namespace or state.namespace()}  # fmt: skip
    lines = [state.line("server", **fields)] + [
        state.line(kind, **fields) for kind, fields in RECORDS[1:]
    ]
    (directory / f"{app}.state").write_text("".join(lines))


def test_no_run_is_said_with_where_was_looked(places, capsys):
    assert cli.main(["report"]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    first, second, *_ = error.splitlines()  # servers that can't be seen may follow
    assert first == "sanic-reaper: no server has left files for a report"
    assert second.startswith(f"looked in {places}")
    leave(places, "Shop", 0)
    assert cli.main(["report", "--app", "Bakery"]) == 1
    assert "there are runs of: Shop" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_error(places):
    """`sanic-reaper report | true`."""
    leave(places, "Shop", 0)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "sanic_reaper.cli", "report"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_page_that_cannot_be_put_in_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    write_whole(str(page), b"old")

    def refuse(draft, path):
        assert Path(draft).read_bytes() == b"new", "it was written by then"
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("sanic_reaper.commands.report.os.rename", refuse)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_whole(str(page), b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"], "no draft stays"
    assert page.read_bytes() == b"old"


def test_the_last_run_is_told_of_or_that_of_an_app(places, capsys):
    leave(places, "Old", 1000)
    leave(places, "New", 2000)
    assert cli.main(["report"]) == 0
    assert capsys.readouterr().out.startswith("New ")
    assert cli.main(["report", "--app", "Old", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["schema"], data["kind"]) == (SCHEMA, "report")
    assert data["server"]["app"] == "Old"
    assert cli.main(["report", "--html", "-"]) == 0
    assert tree(capsys.readouterr().out).find(".//h1").text == "New"


def test_a_run_that_is_here_comes_before_a_later_one_of_a_container(places, capsys):
    leave(places, "Elsewhere", 3000, namespace="1")
    assert cli.main(["report"]) == 0
    assert capsys.readouterr().out.startswith("Elsewhere ")
    leave(places, "Here", 1000)
    assert cli.main(["report"]) == 0
    assert capsys.readouterr().out.startswith("Here ")


def test_wrong_usage(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["report", "--html", "x", "--json"])
    assert end.value.code == 2


def test_the_page_is_written_whole_and_to_ordinary_files_only(places, tmp_path, capsys):
    leave(places, "Shop", 0)
    target = tmp_path / "report.html"
    target.write_text("the one before")
    assert cli.main(["report", "--html", str(target)]) == 0
    tree(target.read_text())
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "pipe")
    before = sorted(os.listdir(tmp_path))
    for name in ("link", "pipe", "sanic-reaper"):
        assert cli.main(["report", "--html", str(tmp_path / name)]) == 2
        assert "not an ordinary file" in capsys.readouterr().err
    assert cli.main(["report", "--html", str(tmp_path / "nowhere" / "x")]) == 2
    assert sorted(os.listdir(tmp_path)) == before, "no draft is left"


@by_itself
def test_the_command_imports_nothing_that_takes_long(places):
    leave(places, "Shop", 0)
    slow = {"sanic", "asyncio", "logging", "dataclasses", "inspect", "html", "json", "psutil"}
    code = (
        # CPython 3.14's argparse imports some of them itself, for its colours.
        "import argparse, sys; argparse.ArgumentParser().parse_args([]); known = set(sys.modules); "
        "from sanic_reaper.cli import main; main(['report', '--app', 'Shop']); "
        f"print(sorted({slow!r} & (set(sys.modules) - known)))"
    )
    head, *_, slow = said_by(code)
    assert head.startswith("Shop ")
    assert slow == "[]"
