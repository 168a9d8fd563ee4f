"""What is left of earlier runs, and what is kept of them: real files, of mains that are gone."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.census import identify
from support.programs import program
from support.written import a_server

from sanic_reaper import platform, state
from sanic_reaper.state import discovery, server, statedir, sweeping, tidying

DAY = 86400.0
WORKER = "Sanic-Server-0-0"


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
    tidying.remove_old("Shop", "/srv", discovery.servers([os.geteuid()]))
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
    assert forget(place) == set()


ELSEWHERE = {
    "another boot": {"boot": "another"},
    "another PID namespace": {"namespace": "pid:[1]"},
    "this app in another PID namespace": {"namespace": "pid:[1]", "app": "Shop"},
}


@pytest.mark.parametrize("where", ELSEWHERE)
@pytest.mark.parametrize(
    ("ages", "goes"),
    [
        ((0, 0), False),
        ((3 * DAY, 60), False),
        ((server.GONE_AFTER / 2, DAY), False),
        ((server.GONE_AFTER + 60, server.GONE_AFTER + 60), True),
        ((-2 * DAY, -2 * DAY), True),  # the clock was set back
    ],
    ids=["fresh", "its beat is", "its state is", "silent", "in the future"],
)
def test_who_can_not_be_seen_from_here_is_judged_by_the_age_of_its_beat(place, where, ages, goes):
    """Containers that share a directory, or machines."""
    leave(place, "run", **{"app": "Bakery", **ELSEWHERE[where]})
    for end, age in zip((state.STATE, state.BEAT), ages, strict=True):
        os.utime(place / f"run{end}", (time.time() - age,) * 2)
    assert forget(place) == (set() if goes else {"run"})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a second user")
@pytest.mark.root
@pytest.mark.parametrize("uid", [0, 65534])
def test_a_server_that_has_given_up_being_root_lives(uid):
    """Root's word is taken for it. Another user's is not taken for a process of somebody else's."""
    code = "import os, time; os.setuid(65533); print(flush=True); time.sleep(60)"
    with program(code) as main:
        identity = identify(main.pid)
        fields = {**a_server().fields, "pid": str(main.pid), "start": str(identity.start)}
        left = server.Server(uid, "/nowhere", [("server", fields)])
        assert left.lives is (uid == 0)
        assert not left.is_gone
        assert sweeping.leftovers([left], platform.table(), []) == []


def test_who_lives_is_not_touched(place):
    start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    leave(place, "first", start=start, began=time.monotonic() - 8 * DAY)
    leave(place, "second", start=start)
    assert forget(place) == {"first", "second"}


def test_what_is_not_understood_is_left_alone(place):
    leave(place, "newer", version=state.VERSION + 1)
    (place / "broken.state").write_text("server\tpid=none\n")
    tidying.remove_old("Shop", "/srv", discovery.servers([os.geteuid()]))
    assert (place / "newer.state").exists()
    assert (place / "broken.state").exists()


MINUTES = 5 * 60.0


@pytest.fixture
def listening(place):
    """A socket of a run without a state file, on which somebody listens, and one that is left."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as gone:
        listener.bind(f"{place}/living.socket")
        listener.listen()
        gone.bind(f"{place}/dead.socket")
        yield


FRAGMENTS = [
    # files, their age, whether they stay
    (["dead.socket", "dead.beat"], 0, False),
    (["living.socket", "living.beat"], 0, True),
    (["x.beat"], 0, True),
    (["x.beat", "x.kin", "x.end"], MINUTES, False),
    (["x.beat", "x.state"], MINUTES, True),
    ([".x.state.123", ".x.beat.77"], MINUTES, False),
    ([".x.state.123"], 0, True),
    (["notes.txt", ".hidden", "x.stately", ".x.state", ".x.state.y"], MINUTES, True),
]


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(("names", "age", "stay"), FRAGMENTS)
def test_files_that_no_state_file_belongs_to(place, names, age, stay):
    """Their server was killed in its first moment. Or it is about to write one."""
    for name in names:
        (place / name).touch()
        if age:
            os.utime(place / name, (time.time() - age,) * 2)
    tidying.remove_fragments([])
    assert [(place / name).exists() for name in names] == [stay] * len(names)


@pytest.mark.parametrize("length", [1, 150])
def test_whose_socket_refuses(tmp_path, length):
    """However long the path of its directory is."""
    deep = tmp_path / ("x" * length)
    deep.mkdir()
    here = os.open(deep, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as gone:
        listener.bind(f"/proc/self/fd/{here}/living.socket")
        listener.listen()
        gone.bind(f"/proc/self/fd/{here}/dead.socket")
        assert tidying._refuses(str(deep), "dead.socket")
        assert not tidying._refuses(str(deep), "living.socket")
    os.close(here)


def test_one_file_that_cannot_be_removed_is_no_error(place):
    (place / "x.beat").mkdir()
    (place / "a.beat").touch()
    for name in ("a.beat", "x.beat"):
        os.utime(place / name, (time.time() - MINUTES,) * 2)
    tidying.remove_fragments([])
    assert (place / "x.beat").is_dir(), "no server has made it"


def test_a_socket_that_is_not_there_refuses_nobody(place):
    """Its server may have moved: that is no sign that it is dead."""
    assert not tidying._refuses(str(place), "none.socket")
    assert not tidying._refuses(str(place / "none"), "none.socket")


def test_what_nobody_has_understood_for_long_goes(place):
    leave(place, "older", version=state.VERSION + 1)
    leave(place, "newer", version=state.VERSION + 1)
    for end in (state.STATE, state.BEAT):
        os.utime(place / f"older{end}", (time.time() - 8 * DAY,) * 2)
    unread: list[discovery.Unread] = []
    # Other places may hold other servers of this user.
    here = {server.directory for server in discovery.servers([os.geteuid()], unread)}
    assert str(place) not in here
    unread = [one for one in unread if Path(one.path).parent == place]
    tidying.remove_fragments(unread)
    assert {path.stem for path in place.iterdir()} == {"newer"}


# -- processes ------------------------------------------------------------------------------------


@pytest.fixture
def orphan():
    with program("import time; print(flush=True); time.sleep(60)") as process:
        yield process


@pytest.fixture
def leftover(orphan):
    """A run of which one process is left."""
    identity = tuple(identify(orphan.pid))

    def belongs(table):
        row = table.get(orphan.pid)
        return {identity: "bears this run's marker"} if row is not None and row.alive else {}

    run = SimpleNamespace(run="run", app="Shop", main=(os.getpid(), 1), uid=os.geteuid())
    return sweeping.Leftover(run, "/srv", belongs, {identity: WORKER}, helped=False)


def sweep(leftover):
    """How many were ended, and what was said of them."""
    lines = []
    return sweeping.kill(leftover, lambda *line: lines.append(line), lambda *_: None), lines


def test_what_is_left_is_ended(leftover, orphan):
    ended, [(level, line, fields)] = sweep(leftover)
    assert (ended, level) == (1, "INFO")
    assert line.startswith(f"SIGTERM to {WORKER} [{orphan.pid}], left by Shop (main was ")
    assert fields["reaper_event"] == "orphan.killed"
    assert (fields["orphan"], fields["pid"], fields["signal"]) == (WORKER, orphan.pid, "SIGTERM")
    assert orphan.wait(5)


def test_one_that_has_changed_its_user_meanwhile_is_let_live(leftover, orphan, monkeypatch):
    """The run's own user could not signal it any more, so root is not to do so in his name."""
    monkeypatch.setattr(platform, "uid", lambda pid: leftover.uid + 1)
    ended, [(level, line, fields)] = sweep(leftover)
    assert (ended, level) == (0, "ERROR")
    assert f"{WORKER} [{orphan.pid}]" in line
    assert "runs as another user by now" in line
    assert not {"reaper_event", "signal"} & fields.keys(), "it was not signalled"
    assert orphan.poll() is None


def test_one_that_has_ended_meanwhile_is_not_called_another_users(leftover, orphan, monkeypatch):
    """Of a process that is gone nobody can say whose it is."""

    def uid(pid):
        orphan.kill()
        orphan.wait()

    monkeypatch.setattr(platform, "uid", uid)
    _, lines = sweep(leftover)
    assert lines == []


@pytest.mark.parametrize(
    ("app", "directory", "helped", "is_ended"),
    [
        ("Shop", "/srv", False, True),
        ("Bakery", "/srv", False, False),
        ("Shop", "/home", False, False),
        ("Shop", "/srv", True, False),
    ],
    ids=["its own", "another app's", "of another directory", "its watchdog lives"],
)
def test_a_start_ends_what_is_left_of_its_own_app_alone(
    place, leftover, orphan, monkeypatch, app, directory, helped, is_ended
):
    leftover.app, leftover.directory, leftover.helped = app, directory, helped
    monkeypatch.setattr(sweeping, "leftovers", lambda *_: [leftover])
    lines, told = [], []
    sweeping.sweep_for(
        "Shop", "/srv", lambda *line: lines.append(line), lambda *it: told.append(it)
    )
    assert len(lines) == len(told) == is_ended
    if is_ended:
        assert orphan.wait(5)
        assert told == [(next(iter(leftover.names)), WORKER, "bears this run's marker")]
    else:
        assert orphan.poll() is None
