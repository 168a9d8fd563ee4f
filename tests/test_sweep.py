"""What is left when the watchdog is gone as well: found by the next start, and by `sweep`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from support.census import Process, wait_until
from support.commands import COMMAND
from support.http import can_bind
from support.marks import methods
from support.server import SCRIPT, SUBJECTS, SUPERVISED, Server
from support.strangers import sleeper

from sanic_reaper.marks import MAIN, RUN

NOBODY = 65534
UNARMED = SUPERVISED.with_config(REAPER_PDEATHSIG="")
"""Its workers outlive main and watchdog. (That they don't is the kernel's doing, by default.)"""

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, for a second user")


def orphan(server: Server, files: Callable[[Path], None] = lambda place: None) -> list[Process]:
    """Kill main and watchdog together; return who is left."""
    server.kill_with_watchdog()
    files(server.box.folder / "sanic-reaper")
    return [row.process for row in server.box.rows() if row.state not in "ZX"]


def remove_files(place: Path) -> None:
    for path in place.iterdir():
        path.unlink()


@methods
def test_the_next_start_ends_what_is_left_and_has_the_port(launch, new_box, method):
    """Workers, and their children: executed ones, forked ones, such that have left the session."""
    box = new_box()
    subject = UNARMED.with_(method=method, children=["setsid", "forked", "cleaned"])
    first = launch(subject, box=box)
    first.wait_serving()
    wait_seen(first, 6)
    left = orphan(first)
    assert not can_bind(first.port)
    second = launch(subject.with_(children=[]), box=box, port=first.port)
    second.wait_for("all acked", 2)  # they write to one file
    assert not any(process.alive for process in left), second.describe()
    assert "left by Subject (main was" in second.output()
    [found] = second.ask("report", "--json").data["events"][:1]
    assert found["name"] == "orphan.killed", "hooks, reports and metrics are told of it"
    assert second.stop() == 0


def wait_seen(server: Server, count: int) -> None:
    """Wait until the watchdog has written down so many children."""

    def seen() -> bool:
        files = list((server.box.folder / "sanic-reaper").glob("*.kin"))
        return bool(files) and len(files[0].read_text().splitlines()) >= count

    wait_until(seen, 10, server.describe)


OTHERS = {
    "switched off": (UNARMED.with_config(REAPER_SWEEP=False), SUBJECTS),
    "of another directory": (UNARMED, SUBJECTS / "held"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_start_that_is_not_to_sweep_fails_and_says_who_has_the_port(launch, new_box, case):
    box = new_box()
    subject, directory = OTHERS[case]
    first = launch(UNARMED.with_(method="fork", workers=1), box=box)
    [worker] = first.wait_serving()
    orphan(first)
    argv = [SCRIPT[0], str(SUBJECTS / "app.py")]
    second = launch(
        subject.with_(method="fork"), box=box, port=first.port, argv=argv, cwd=directory
    )
    assert second.exit_code() == 1
    [error] = second.errors()
    assert f"127.0.0.1:{first.port} is taken by " in error
    assert f"[{worker.inner_pid}], which runs for" in error
    assert "an orphan of Subject, whose main" in error
    assert worker.alive
    assert "Traceback" not in second.output()
    assert first.ask("sweep", "--yes", "--all-apps").code == 0
    first.box.wait_empty(5)


def test_a_port_that_a_stranger_has(launch, new_box, ports, tmp_path):
    box, port = new_box(), ports.take()
    listen = f"s = socket.create_server(('127.0.0.1', {port}))"
    program = f"import socket, time; {listen}; time.sleep(600)"
    stranger = box.start([SCRIPT[0], "-c", program], output=tmp_path / "stranger")
    wait_until(lambda: not can_bind(port), 10, "the stranger to listen")
    server = launch(SUPERVISED, box=box, port=port)
    assert server.exit_code() == 1
    [error] = server.errors()
    assert f"127.0.0.1:{port} is taken by {SCRIPT[0]}" in error
    assert f"[{stranger.process.inner_pid}], which runs for" in error
    assert stranger.process.alive


def test_a_start_waits_for_a_server_that_is_just_being_ended(launch, new_box):
    """Its worker blocks, and so holds the port, but may finish what it does: nobody sweeps it."""
    box = new_box()
    subject = SUPERVISED.with_(method="fork", workers=1).with_config(REAPER_ORPHAN_GRACE=8.0)
    first = launch(subject, box=box)
    first.wait_serving()
    request = first.request("/do/block:3")
    first.send(SIGKILL)
    second = launch(subject, box=box, port=first.port)
    second.wait_for("all acked", 2)
    assert request.answer() == (200, "done")
    assert "is taken by" not in second.output()
    assert "left by" not in second.output()


def test_a_server_of_the_same_app_that_lives(launch, new_box):
    """It has the port, and keeps it."""
    box = new_box()
    first = launch(SUPERVISED.with_(method="fork", workers=1), box=box)
    before = first.wait_serving()
    second = launch(SUPERVISED.with_(method="fork"), box=box, port=first.port)
    assert second.exit_code() == 1
    assert f"of Subject, which runs in {SUBJECTS}" in second.errors()[0]
    assert first.workers == before
    assert first.get()[0] == 200
    assert first.stop() == 0


@pytest.mark.parametrize("files", [lambda place: None, remove_files], ids=["state", "marks alone"])
def test_the_command(launch, new_box, files):
    box = new_box()
    server = launch(UNARMED.with_(workers=1, children=["setsid"]), box=box)
    left = [*server.wait_serving(), *server.children]  # the helpers end by themselves
    orphan(server, files)
    subject = SUPERVISED.with_(method="fork", workers=1, children=["setsid"])
    bystander = launch(subject.with_config(REAPER_SWEEP=False), box=box)
    others = [*bystander.wait_serving(), bystander.main]
    shown = server.ask("sweep", "--json").data
    [found] = shown["found"]
    assert (found["app"], found["directory"]) == ("Subject", str(SUBJECTS))
    of_left = {process.inner_pid for process in left}
    assert of_left <= {one["pid"] for one in found["processes"]}
    assert any(server.port in one["ports"] for one in found["processes"])
    assert all(one["evidence"] for one in found["processes"])
    # A helper that is exiting just then has no memory any more.
    assert all(one["rss_bytes"] > 0 for one in found["processes"] if one["pid"] in of_left)

    asked = server.ask("sweep")
    assert asked.code == 2, asked
    assert "--yes" in asked.text
    assert all(process.alive for process in left), "nothing was agreed to"
    elsewhere = server.ask("sweep", "--yes", cwd=Path("/"))
    said = re.fullmatch(
        "no leftover processes of apps started in /\n"
        r"(\d+) leftover processes of other apps: `sanic-reaper sweep --all-apps`\n",
        elsewhere.text,
    )
    assert said is not None, elsewhere
    assert (elsewhere.code, int(said[1]) >= len(left)) == (0, True)
    assert server.ask("sweep", "--json", cwd=Path("/")).data["others"] >= len(left)
    assert server.ask("sweep", "--app", "Nobody").text.startswith(
        "no leftover processes of Nobody\n"
    )
    assert all(process.alive for process in left)

    swept = server.ask("sweep", "--yes")
    assert swept.code == 0, swept
    assert "SIGTERM to " in swept.text
    wait_until(lambda: not any(one.alive for one in left), 5, server.describe)
    assert can_bind(server.port)
    assert all(process.alive for process in others)
    assert server.ask("sweep", "--all-apps").text == "no leftover processes\n"
    assert bystander.stop() == 0


def test_the_command_that_ps_names_works_from_any_directory(launch):
    server = launch(UNARMED.with_(method="fork", workers=1))
    server.wait_serving()
    left = orphan(server)
    said = server.ask("ps", cwd=Path("/"))
    command = said.text.partition("`sanic-reaper ")[2].partition("`")[0].split()
    assert command == ["sweep", "--app", "Subject"]
    assert server.ask(*command, "--yes", cwd=Path("/")).code == 0
    assert not any(process.alive for process in left)


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"\n", 1)], ids=["yes", "no"])
def test_the_question(launch, terminal, answer, code):
    server = launch(UNARMED.with_(method="fork", workers=1))
    left = server.wait_serving()
    orphan(server)
    env = {**server.env, "NO_COLOR": "1"}
    asking = server.box.start([*COMMAND, "sweep"], output=terminal.path, env=env, cwd=SUBJECTS)
    wait_until(lambda: b"kill them? [y/N]" in terminal.shown, 20, lambda: terminal.shown.decode())
    assert all(process.alive for process in left)
    terminal.type(answer)
    assert asking.exit_code(10) == code
    assert [process.alive for process in left] == [code == 1]


def test_a_server_does_not_sweep_itself_nor_who_has_started_it(launch, new_box, tmp_path):
    """They bear the mark of a run whose main is gone: a worker of that has started them."""
    box = new_box()
    gone = box.start(["sleep", "60"], output=tmp_path / "gone").process
    gone.send(SIGKILL)
    wait_until(lambda: not gone.alive, 5, "it to end")
    env = {**marks(gone), "sanic_reaper_main": f"4000000\t{gone.start}\tSubject\t{SUBJECTS}"}
    shell = ["sh", "-c", '"$0" app.py; echo "next line, after $?"', SCRIPT[0]]
    server = launch(SUPERVISED.with_(method="fork", workers=1), box=box, argv=shell, env=env)
    server.wait_serving()
    assert server.get()[0] == 200
    server.send(SIGTERM)
    assert server.exit_code() == 0
    assert "next line, after 0" in server.output()


def test_runs_that_were_killed_in_their_first_moment_leave_no_file(launch, new_box):
    box = new_box()
    place = box.folder / "sanic-reaper"
    subject = SUPERVISED.with_(method="fork", workers=1)
    for _ in range(3):
        before = files_in(place)
        server = launch(subject, box=box)
        wait_until(lambda known=before: files_in(place) - known, 20, server.describe)
        server.command.process.send(SIGKILL)
        server.exit_code()
        server.wait_gone()  # its watchdog too: until then the run is not over
    fragment = place / "0123456789abcdef.beat"  # somebody may have removed its state file
    fragment.touch()
    os.utime(fragment, (time.time() - 120,) * 2)
    server = launch(subject, box=box)
    server.wait_serving()
    told = {path.stem for path in place.glob("*.state")}
    assert {Path(name).stem for name in files_in(place)} == told
    assert len(told) == 2, "of this app the last run is kept"
    assert server.stop() == 0


def files_in(place: Path) -> set[str]:
    if not place.exists():
        return set()
    return {path.name for path in place.iterdir() if not path.name.startswith(".")}


def test_who_was_started_by_a_main_of_another_pid_namespace_is_let_live(launch, tmp_path):
    """A worker runs something in a sandbox of its own: seen from there its main has no pid."""
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    server.wait_serving()
    box = server.box
    gone = marks(server.watchdog)
    orphan = sleeper(box, tmp_path / "orphan", env={**os.environ, **gone})
    other = {RUN: "d" * 16, MAIN: f"{gone[MAIN]}\tpid:[1]"}
    sandboxed = sleeper(box, tmp_path / "sandboxed", env={**os.environ, **other})
    assert server.ask("sweep", "--yes", "--all-apps").code == 0
    assert not orphan.alive, "its main was of this one, and is gone"
    assert sandboxed.alive
    sandboxed.send(SIGKILL)
    assert server.stop() == 0


@needs_root
@pytest.mark.root
def test_nobody_is_killed_for_another_users_word(launch, new_box, tmp_path):
    """A forged state file, and a forged mark: root looks, and ends what that user could end."""
    box = new_box()
    victim = sleeper(box, tmp_path / "root")
    own = sleeper(box, tmp_path / "nobody", uid=NOBODY)
    marked = sleeper(box, tmp_path / "marked", env={**os.environ, **marks(victim)})
    forged = sleeper(box, tmp_path / "forged", env={**os.environ, **marks(victim)}, uid=NOBODY)
    place = Path("/tmp") / f"sanic-reaper-{NOBODY}"
    server = launch(SUPERVISED.with_(method="fork", workers=1), box=box)
    workers = server.wait_serving()
    forged_file = forge(server, place, [victim, own])
    try:
        said = server.ask("sweep", "--yes", "--all-apps")
    finally:
        forged_file.unlink(missing_ok=True)
        with suppress(OSError):  # that user may have had servers of his own
            place.rmdir()
    assert victim.alive, said.text
    assert not own.alive, "that one is his, and of a server whose main is gone"
    assert not forged.alive
    assert not marked.alive, "this one root has marked itself: its main is gone"
    assert all(worker.alive for worker in workers)


def marks(dead: Process) -> dict[str, str]:
    """As of a server whose main is gone: nobody was created when this one was, with its pid."""
    main = f"{dead.inner_pid}\t{dead.start - 1}\tForged\t/"
    return {"sanic_reaper_run": "f" * 16, "sanic_reaper_main": main}


def forge(server: Server, place: Path, claimed: list[Process]) -> Path:
    """A state file of nobody's that says: main is gone, and these were its workers."""
    [real] = (server.box.folder / "sanic-reaper").glob("*.state")
    head = real.read_text().splitlines()[0]
    words = dict(word.split("=", 1) for word in head.split("\t")[1:])
    words.update(run="e" * 16, uid=str(NOBODY), start=str(int(words["start"]) - 1))
    lines = ["server\t" + "\t".join(f"{key}={value}" for key, value in words.items())]
    lines += [
        f"process\tpid={one.inner_pid}\tstart={one.start}\trole=worker\tname=Sanic-Server-0-0"
        for one in claimed
    ]
    place.mkdir(mode=0o700, exist_ok=True)
    path = place / f"{'e' * 16}.state"
    path.write_text("\n".join(lines) + "\n")
    for one in (path, place):
        os.chown(one, NOBODY, NOBODY)
    return path
