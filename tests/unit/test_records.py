"""State files of which anything may stand in: a broken record costs that record alone."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.written import NOW, a_server

from sanic_reaper import platform, state
from sanic_reaper.commands import ps
from sanic_reaper.report.run_report import RunReport
from sanic_reaper.report.text import Text
from sanic_reaper.state import discovery, health, records, statedir, sweeping
from sanic_reaper.state.server import Server
from sanic_reaper.worker import metrics, status

KINDS = [*records._NEEDED, "weather"]
KEYS = [*records.CHECKS, "run", "app", "name", "directory", "boot", "namespace", "doing", "file"]
NUMBERS = [
    "", "-1", "0", "1", "²", "nan", "inf", "-inf", "1e308", "4194305", "9" * 20, "9" * 5000, "1.5"
]  # fmt: skip
values = st.sampled_from([*NUMBERS, "serving", "blocked", "\x1b[2J"]) | st.text(max_size=8)
any_fields = st.dictionaries(st.sampled_from(KEYS), values, max_size=10)


@st.composite
def any_server(draw):
    """One that is here and lives, as far as it goes, with anything in its records."""
    real = a_server().fields
    written = [("server", {**real, **draw(any_fields), "version": real["version"]})]
    whole = {"pid": str(os.getpid()), "start": real["start"], "name": "S", "role": "worker"}
    for kind, fields in draw(st.lists(st.tuples(st.sampled_from(KINDS), any_fields), max_size=6)):
        written.append((kind, {**whole, **fields} if draw(st.booleans()) else fields))
    return written


def use(server: Server) -> None:
    """Everything that is made of one."""
    now = time.monotonic()
    server.observe(platform.row)
    table = platform.subtree([os.getpid()]) or platform.table()
    picture = ps.Picture.of(server, table, now)
    assert "".join(picture.lines()).isprintable(), "what a terminal would obey"
    json.dumps(picture.as_data(), allow_nan=False)
    health.ready(server, now)
    lines = metrics.exposition(server, now).split("\n")
    samples = [line.rpartition(" ")[2] for line in lines if line and not line.startswith("#")]
    assert not any(math.isinf(float(sample)) for sample in samples)
    json.dumps(status.document(server, now), allow_nan=False)
    str(Text(RunReport(server, now, server.lives, server.is_here), full=True))


@settings(max_examples=150, deadline=None)
@given(any_server())
def test_whatever_stands_in_the_records(written):
    try:
        server = Server(os.geteuid(), "/nowhere", written, written, written, NOW)
    except ValueError:
        return
    use(server)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*KINDS, "server"]), any_fields), max_size=5))
def test_what_is_left_of_a_record_makes_sense(written):
    try:
        found = list(records.believable(written))
    except ValueError:
        return
    for kind, fields in found:
        assert all(key in fields for key in records._NEEDED.get(kind, ()))
        for key, value in fields.items():
            if key in records._NUMBERS:
                assert math.isfinite(float(value))
            if key in records._WHOLE:
                assert 0 <= int(value) < 2**63


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_bytes_a_file_has(content):
    assert records.moment(content) is None or math.isfinite(records.moment(content))
    try:
        Server(0, "/nowhere", state.parse(content), state.parse(content), state.parse(content))
    except ValueError:
        pass


def of(kind: str, **fields: object) -> tuple[str, state.Fields]:
    return kind, {key: str(value) for key, value in fields.items()}


BROKEN = [
    of("process", pid="9" * 20, start=1),
    of("process", pid="²", start=1),
    of("process", pid=0, start=1),
    of("process", start=1),
    of("process", pid=101, start="nan"),
    of("handler", pid=100, start=1, began="x"),
    of("handler", pid=999, start=1, began=1),
    of("standstill", pid=100, start=1, began=1, ended="inf"),
    of("counter", name="x", value="nan"),
    of("counter", value="1"),
    of("event", time="now", name="worker.died", pid=100),
    of("event", time=1, name="worker.died", pid="9" * 20),
]


@pytest.mark.parametrize("record", BROKEN, ids=lambda record: record[0])
def test_a_broken_record_costs_that_record_alone(record):
    good = [
        ("server", a_server().fields),
        of("process", pid=100, start=1, role="worker", name="S", state="serving"),
        record,
        of("counter", name="worker.died", value=3),
    ]
    server = Server(0, "/nowhere", good)
    assert [one.name for one in server.workers] == ["S"]
    assert not server.workers[0].handlers
    assert not server.workers[0].standstills
    assert not server.events
    assert server.counters == {"worker.died": 3.0}


@pytest.mark.parametrize("key", ["began", "wanted", "since", "clock", "uid"])
@pytest.mark.parametrize("value", ["x", "nan", "²", "9" * 5000])
def test_a_broken_field_of_the_server_costs_that_field_alone(key, value):
    use(Server(0, "/nowhere", [("server", {**a_server().fields, key: value})]))


@pytest.mark.parametrize("key", ["pid", "start", "run", "app"])
def test_a_server_without_what_it_needs_is_none(key):
    fields = {**a_server().fields}
    del fields[key]
    with pytest.raises(ValueError, match="tells of no server"):
        Server(0, "/nowhere", [("server", fields)])


def test_another_version_is_named():
    fields = {**a_server().fields, "version": "2", "pid": "what the other version means by it"}
    with pytest.raises(records.OtherVersion, match=r"another version of sanic-reaper \(2\)"):
        Server(0, "/nowhere", [("server", fields)])


# -- files ----------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(statedir, "places", lambda uid: [str(tmp_path / "sanic-reaper")])
    return Path(statedir.make())


def leave(place: Path, name: str, **fields: object) -> None:
    (place / f"{name}.state").write_text(
        state.line("server", **{**a_server().fields, "run": name, **fields})
    )
    (place / f"{name}.beat").write_text("1000.0\n")


def test_one_bad_file_costs_that_file_alone(place):
    leave(place, "good")
    leave(place, "newer", version=2)
    leave(place, "liar", run="another")
    leave(place, "huge", pid="9" * 20)
    (place / "noise.state").write_bytes(os.urandom(2000) + b"\n")
    (place / "folder.state").mkdir()
    os.mkfifo(place / "pipe.state")
    (place / "link.state").symlink_to("good.state")
    unread: list[discovery.Unread] = []
    assert [server.run for server in discovery.servers([os.geteuid()], unread)] == ["good"]
    said = {Path(one.path).stem: str(one) for one in unread}
    assert set(said) == {"newer", "liar", "huge", "noise"}
    assert said["newer"].endswith("(2); this one reads 1")
    assert sweeping.leftovers(discovery.servers([os.geteuid()]), {}, []) == []


def test_the_one_that_beats_is_believed(place, tmp_path, monkeypatch):
    """A main that has moved leaves its old files behind, where it can't remove them."""
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    for where, beat in ((place, "1000.0\n"), (other, "1010.0\n")):
        leave(where, "run")
        (where / "run.beat").write_text(beat)
    for order in ([place, other], [other, place]):
        monkeypatch.setattr(statedir, "places", lambda uid, order=order: list(map(str, order)))
        [server] = discovery.servers([os.geteuid()])
        assert server.directory == str(other)


@pytest.mark.parametrize("turned_before", [(20, 30), (30, 20), (30, 0), (0, 30), (0, None)])
def test_one_run_is_read_where_its_main_has_written_last(
    place, tmp_path, monkeypatch, turned_before
):
    """Whichever of its directories is looked into first."""
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    now = time.monotonic()
    for where, seconds in zip((place, other), turned_before, strict=True):
        leave(where, "run")
        if seconds is not None:
            (where / "run.beat").write_text(f"{now - seconds}\n")
        else:
            (where / "run.beat").unlink()
    monkeypatch.setattr(statedir, "places", lambda uid: [str(place), str(other)])
    last = min((seconds, at) for at, seconds in enumerate(turned_before) if seconds is not None)[1]
    for first in (place, other):
        found = discovery.load(str(first), os.geteuid(), "run")
        assert found.directory == str((place, other)[last])


def test_one_run_whose_file_is_not_understood(place):
    leave(place, "run", version=2)
    with pytest.raises(OSError, match=r"run\.state is not to be understood: written by another"):
        discovery.load(str(place), os.geteuid(), "run")
    with pytest.raises(FileNotFoundError):
        discovery.load(str(place), os.geteuid(), "none")


def test_of_another_user_only_so_much_is_read(place, monkeypatch):
    for number in range(8):
        leave(place, f"run{number}")
    monkeypatch.setattr(discovery, "MOST_RUNS", 5)
    assert len(discovery.servers([os.geteuid()])) == 8, "one's own are all read"
    monkeypatch.setattr(discovery, "MOST_FILES", 5)
    assert len(discovery.servers([os.geteuid()])) <= 5


def test_one_file_that_is_longer_than_that_is_not_looked_into(place):
    """Each of its records would cost a look at the process table."""
    leave(place, "long")
    room = discovery.ReadingLimit(os.geteuid())
    room.bytes = 50
    assert list(discovery._in_directory(str(place), room, [])) == []
    room.bytes = 5000
    assert [one.run for one in discovery._in_directory(str(place), room, [])] == ["long"]


def test_a_server_of_another_version_is_named_by_each_command(place, tmp_path):
    leave(place, "newer", version=2)
    env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path)}
    words = f"{place}/newer.state is not understood: written by another version of sanic-reaper (2)"
    for arguments in (["ps"], ["health", "--live"], ["report"], ["dump", "x"], ["sweep"]):
        os.utime(place / f"newer{state.BEAT}")  # a busy machine takes long for so many commands
        command = [sys.executable, "-m", "sanic_reaper.cli", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert words in done.stderr, (arguments, done)
        assert "this one reads 1" in done.stderr
        assert "Traceback" not in done.stderr
    for end in (state.BEAT, state.STATE):
        os.utime(place / f"newer{end}", (time.time() - 3600,) * 2)
    command = [sys.executable, "-m", "sanic_reaper.cli", "ps"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert f"{place}/newer" not in done.stderr, "it runs no more"
