"""`sanic-reaper ps` and `dump`: real servers, seen from beside."""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGCONT, SIGINT

import pytest
from support.box import Box, isolation
from support.census import wait_until
from support.commands import COMMAND, LONGEST
from support.marks import by_itself, methods
from support.programs import NOBODY, by_anybody
from support.server import PLAIN, SUBJECTS, SUPERVISED, Server

from sanic_reaper import state

ROOT = Path(__file__).parents[1]


def processes(server: Server) -> dict[str, dict]:
    """The processes of the only server that there is, by name."""
    said = server.ask("ps", "--json")
    assert said.code == 0, said
    [found] = said.data["servers"]
    return {one["name"]: one for one in found["processes"]}


def serving(server: Server) -> int:
    [found] = server.ask("ps", "--json").data["servers"]
    number: int = found["workers_serving"]
    return number


def wait_for(server: Server, name: str, state: str) -> dict:
    """Wait until a process is at something."""

    def found() -> dict:
        one = processes(server).get(name, {})
        return one if one.get("state") == state else {}

    return wait_until(found, 20, lambda: f"{name} to be {state}\n{server.ask('ps').text}")


@methods
def test_a_server_that_serves(launch, method):
    server = launch(SUPERVISED.with_(method=method, children=["setsid"]))
    server.wait_serving()
    wait_until(lambda: "serving for" in server.ask("ps").text, 10, server.describe)
    said = server.ask("ps", "--json")
    assert said.data["schema"] == 1
    [found] = said.data["servers"]
    assert found["app"] == "Subject"
    assert found["state"] == "serving"
    assert found["workers_serving"] == found["workers_wanted"] == 2
    assert found["address"] == f"127.0.0.1:{server.port}"
    assert found["start_method"] == method
    assert found["directory"] == str(SUBJECTS)
    shown = {one["pid"]: one for one in found["processes"]}
    assert set(shown) == {row.process.inner_pid for row in server.box.rows()}, "all, and no other"
    roles = sorted(one["role"] for one in shown.values())
    assert roles.count("worker") == 2
    assert roles.count("watchdog") == roles.count("main") == 1
    for worker in server.workers:
        child = next(one for one in shown.values() if one["parent"] == worker.inner_pid)
        assert (child["role"], child["name"]) == ("child", "sleep")
        assert shown[worker.inner_pid]["state"] == "serving"
        assert shown[worker.inner_pid]["rss_bytes"] > 1_000_000
    text = server.ask("ps").text
    assert "serving for" in text
    assert "2 of 2 workers serve" in text
    assert "\x1b" not in text
    assert server.stop() == 0
    said = server.ask("ps")
    assert said.code == 1
    first, second = said.text.splitlines()
    assert first == "no server is running here"
    assert second.startswith(f"looked in {server.box.folder}/sanic-reaper, ")


def test_a_child_that_nobody_has_waited_for(launch):
    server = launch(SUPERVISED.with_(workers=1))
    [worker] = server.wait_serving()
    server.get("/start/awaited")
    zombie = wait_for(server, "sh", "zombie")
    assert (zombie["role"], zombie["parent"]) == ("child", worker.inner_pid)
    server.wait_for("collected")
    assert "sh" not in processes(server)
    assert server.stop() == 0


def test_a_start_that_hangs(launch):
    server = launch(SUPERVISED.with_(workers=1, listeners={"before_server_start": "block"}))
    server.wait_for("holding")
    worker = wait_for(server, "Sanic-Server-0-0", "starting")
    wait_until(lambda: processes(server)["Sanic-Server-0-0"]["doing"], 10, "what it does")
    worker = processes(server)["Sanic-Server-0-0"]
    assert worker["doing"]["name"] == "listen_blocking"
    assert worker["doing"]["file"] == str(SUBJECTS / "subject.py")
    text = server.ask("ps").text
    assert "in listen_blocking, subject.py:" in text
    assert server.ask("dump", "Sanic-Server-0-0").text.startswith("Sanic-Server-0-0 [")
    assert server.stop() == 0


def test_work_in_the_background(launch):
    server = launch(
        SUPERVISED.with_(
            workers=1,
            method="fork",
            listeners={"before_server_start": "block"},
            decorate={"background": ([], {"timeout": 600})},
        )
    )
    server.wait_for("holding")
    wait_for(server, "Sanic-Server-0-0", "background")
    assert "in listen_blocking, subject.py:" in server.ask("ps").text
    for probe, code in (("--live", 0), ("--ready", 1)):
        assert server.ask("health", probe).code == code
    assert "still does background work" in server.ask("health", "--ready").text
    assert server.stop() == 0
    assert server.ask("health", "--live").code == 1


def test_workers_that_are_blocked_and_stopped(launch):
    server = launch(SUPERVISED.with_(method="fork"))
    names = [worker.inner_pid for worker in server.wait_serving()]
    assert server.ask("health", "--ready").code == 0
    unanswered = server.request("/do/hold_gil")
    blocked = server.events("request")[-1]
    name = blocked.name
    wait_for(server, name, "blocked")
    dump = server.ask("dump", name)
    assert dump.code == 0
    assert "in C code that holds the GIL" in dump.text
    assert "in hold_gil" in dump.text
    assert server.ask("dump", "--json", name).data["worker"] == name
    assert server.ask("health", "--live").code == 0
    said = server.ask("health", "--ready")
    assert (said.code, f"of {name} [" in said.text) == (1, True)
    [other] = [worker for worker in server.workers if worker.inner_pid != blocked.pid]
    assert other.inner_pid in names
    other.freeze()
    stopped = next(e.name for e in server.events("after_server_start") if e.name != name)
    wait_for(server, stopped, "stopped")
    said = server.ask("dump", stopped)
    assert said.code == 1
    assert "is stopped" in said.text
    assert other.stopped, "asking has not woken it"
    unanswered.close()


def test_ps_and_the_probes_agree_about_a_blocked_worker(launch):
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    server.wait_serving()
    wait_for(server, "Sanic-Server-0-0", "serving")
    assert (serving(server), server.ask("health", "--live").code) == (1, 0)
    unanswered = server.request("/do/block")
    wait_for(server, "Sanic-Server-0-0", "blocked")
    assert "0 of 1 workers serve" in server.ask("ps").text
    assert serving(server) == 0
    said = server.ask("health", "--live")
    assert (said.code, "no worker serves; Sanic-Server-0-0 [" in said.text) == (1, True)
    unanswered.close()


def test_a_stopped_worker_serves_no_more_from_the_first_moment_on(launch):
    """Before main can have seen it: main is stopped too."""
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    [worker] = server.wait_serving()
    wait_for(server, "Sanic-Server-0-0", "serving")
    server.main.freeze()
    worker.freeze()
    assert serving(server) == 0
    said = server.ask("health", "--live")
    assert (said.code, "Sanic-Server-0-0 [" in said.text, "is stopped" in said.text) == (1, 1, 1)
    worker.send(SIGCONT)
    wait_until(lambda: not worker.stopped, 5, "the worker to go on")
    assert serving(server) == 1, "main has not written a word meanwhile"
    assert server.ask("health", "--live").code == 0
    server.main.send(SIGCONT)
    assert server.stop() == 0


def test_a_main_that_is_stuck(launch):
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    server.wait_serving()
    server.main.freeze()
    wait_until(lambda: "stuck" in server.ask("ps", "--json").text, 20, "main to be called stuck")
    assert "main loop stalled for " in server.ask("ps").text
    assert "main has not answered within" in server.ask("dump", "Sanic-Server-0-0").text


def test_what_is_left_is_marked_as_orphans(launch):
    server = launch(SUPERVISED.with_(children=["setsid"]))
    server.wait_serving()
    orphans = [child.inner_pid for child in server.children]
    assert len(orphans) == 2
    server.kill_with_watchdog()
    wait_until(lambda: len(server.box.rows()) == 2, 10, server.describe)
    [found] = server.ask("ps", "--json").data["servers"]
    assert found["state"] == "orphaned"
    assert sorted(one["pid"] for one in found["processes"]) == sorted(orphans)
    assert all(one["orphan"] for one in found["processes"])
    assert "has died and left 2 orphans" in server.ask("ps").text


def test_without_a_place_to_write_only_the_view_is_lost(launch):
    server = launch(
        SUPERVISED.with_(method="fork", workers=1), env={"SANIC_REAPER_WITHOUT": "state"}
    )
    server.wait_serving()
    assert "can't be seen by `sanic-reaper ps`" in server.output()
    assert server.get()[0] == 200
    assert server.ask("ps").code == 1
    assert server.stop() == 0


def removed(place: Path, box: Box) -> None:
    """As `/run/user/UID` is when its user logs out."""
    shutil.rmtree(place)


def logged_out(place: Path, box: Box) -> None:
    """That directory's own parent, which is not ours to make."""
    shutil.rmtree(place.parent)


def emptied(place: Path, box: Box) -> None:
    for path in place.iterdir():
        path.unlink()


def a_link(place: Path, box: Box) -> None:
    place.rename(place.with_name("elsewhere"))
    place.symlink_to("elsewhere")


def a_file(place: Path, box: Box) -> None:
    shutil.rmtree(place)
    place.touch()


def of_another_user(place: Path, box: Box) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to make what is another user's")
    os.chown(place, 65534, 65534)


def full(place: Path, box: Box) -> None:
    """Its file system, not that of the next place."""
    if isolation()[0] != "PID namespace":
        pytest.skip("may not mount a file system")
    script = 'mount -t tmpfs -o size=4k,mode=700 tmpfs "$0" && echo x >"$0"/x'
    mounting = box.start(["sh", "-c", script, str(place)], output=box.folder / "mount")
    assert mounting.exit_code(20) == 0


LOST = {
    one.__name__: one
    for one in (removed, logged_out, emptied, a_link, a_file, of_another_user, full)
}


@pytest.mark.parametrize("how", LOST)
def test_the_state_directory_goes_away(launch, new_box, how):
    """It is made again, or another place is found; workers, commands and the watchdog learn it."""
    subject = SUPERVISED.with_(method="fork", workers=1, children=["setsid"])
    box = new_box()
    place = box.folder / "user" / "sanic-reaper"
    place.parent.mkdir()
    runtime = {"XDG_RUNTIME_DIR": str(place.parent)}
    server = launch(subject.with_config(REAPER_ENDPOINT="/reaper"), box=box, env=runtime)
    server.wait_serving()
    wait_until(lambda: list(place.glob("*.kin")), 20, server.describe)
    wait_until(lambda: server.get("/reaper/ready") == (200, "ok\n"), 20, server.describe)
    [run] = [path.stem for path in place.glob("*.state")]
    server.main.freeze()  # or it would make it again while we are at it
    LOST[how](place, server.box)
    server.main.send(SIGCONT)

    def complete() -> bool:
        """Everything is there, written after the loss, and everybody sees it."""
        said = [server.ask("health", "--ready"), server.ask("dump", "Sanic-Server-0-0")]
        return [one.code for one in said] == [0, 0] and server.get("/reaper/ready")[0] == 200

    began = time.monotonic()
    wait_until(lambda: server.get("/reaper/ready")[0] == 200, 10, server.describe)
    wait_until(complete, 20, lambda: f"{server.ask('health', '--ready')}\n{server.describe()}")
    assert time.monotonic() - began < 30
    if how in ("removed", "emptied"):
        found = wait_until(
            lambda: {path.suffix for path in place.iterdir()} >= set(state.ALL) - {state.END},
            20,
            lambda: f"all of {run}'s files: {list(place.iterdir())}",
        )
        assert found
    assert server.get()[0] == 200
    assert server.stop() == 0
    assert server.output().count("the state directory") <= 1
    assert "Traceback" not in server.output()
    for path in glob.glob(f"/run/sanic-reaper/{run}.*") + glob.glob(f"/tmp/sanic-reaper-*/{run}.*"):
        os.unlink(path)  # where root's next place is


def test_a_server_whose_files_lie_elsewhere(launch):
    """A service has another XDG_RUNTIME_DIR than a shell of the same user."""
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    server.wait_serving()
    main = server.main.inner_pid
    here = server.env["XDG_RUNTIME_DIR"]
    server.env["XDG_RUNTIME_DIR"] = str(server.box.tmp)
    said = server.ask("ps")
    assert (said.code, "no server is running here" in said.text) == (1, True)
    assert f"(main process {main}), and its files lie elsewhere" in said.text
    assert f": `XDG_RUNTIME_DIR={here} sanic-reaper ps`" in said.text
    [found] = server.ask("ps", "--json").data["unseen"]
    assert (found["uid"], found["main"]) == (os.geteuid(), main)
    said = server.ask("health", "--live")
    assert (said.code, f"XDG_RUNTIME_DIR={here} sanic-reaper health" in said.text) == (1, True)
    for command in (["dump", "main"], ["report", "--app", "Unheard-of"]):
        said = server.ask(*command)
        hint = f"XDG_RUNTIME_DIR={here} sanic-reaper {command[0]}"
        assert (said.code, hint in said.text) == (1, True), said.text
    said = server.ask("dump")
    assert "no server is running" in said.text
    assert f"XDG_RUNTIME_DIR={here} sanic-reaper dump" in said.text
    server.env["XDG_RUNTIME_DIR"] = here
    assert server.ask("ps", "--json").data["unseen"] == []
    assert server.stop() == 0


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, for a second user")
def test_as_another_user(launch):
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    server.wait_serving()
    output = server.box.folder / "said"
    for command in (["ps"], ["health", "--live"]):
        env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
        argv = by_anybody([*COMMAND, *command])
        output.unlink(missing_ok=True)
        asking = server.box.start(argv, env=env, output=output, cwd=Path("/"), uid=NOBODY)
        assert asking.exit_code(LONGEST) == 1
        said = output.read_text()
        assert "no server is running" in said
        assert f"/tmp/sanic-reaper-{NOBODY}, as user nobody" in said
        assert "user root runs 1 server, which only root can see: `sudo sanic-reaper" in said
    assert server.stop() == 0


def test_watching_until_somebody_has_seen_enough(launch, terminal):
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    server.wait_serving()
    watching = server.box.start(
        [*COMMAND, "ps", "--watch"], env=server.env, output=Path(terminal.path), cwd=SUBJECTS
    )
    cleared = b"\x1b[H\x1b[2J"
    wait_until(lambda: terminal.shown.count(cleared) >= 2, 20, lambda: terminal.shown.decode())
    watching.process.send(SIGINT)
    assert watching.exit_code(20) == 130
    assert b"Subject" in terminal.shown
    assert b"Traceback" not in terminal.shown
    assert server.stop() == 0


def test_what_blocks_a_worker_is_what_it_does(launch):
    subject = SUPERVISED.with_(method="fork", workers=1)
    server = launch(subject.with_config(REAPER_BLOCKED_WARNING=1))
    server.wait_serving()
    unanswered = server.request("/do/block")

    def doing() -> dict:
        found = processes(server)["Sanic-Server-0-0"]
        return found["doing"] if found["state"] == "blocked" and found["doing"] else {}

    found = wait_until(doing, 20, lambda: server.ask("ps").text)
    assert (found["name"], found["file"]) == ("block", str(SUBJECTS / "subject.py"))
    assert found["seconds"] >= 1
    assert "in block, subject.py:" in server.ask("ps").text
    unanswered.close()


def test_cpu_is_that_of_the_present(launch):
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    [worker] = server.wait_serving()
    unanswered = server.request("/do/spin")

    def share() -> float:
        number: float = processes(server)["Sanic-Server-0-0"]["cpu_share"]
        return number

    wait_until(lambda: share() > 0.1, 30, lambda: server.ask("ps").text)
    worker.freeze()
    assert share() == 0
    assert processes(server)["Sanic-Server-0-0"]["cpu_seconds"] > 0.1
    unanswered.close()


def test_watching_as_data_is_an_object_a_line(launch):
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    server.wait_serving()
    output = server.box.folder / "said"
    watching = server.box.start(
        [*COMMAND, "ps", "--json", "--watch"], env=server.env, output=output, cwd=SUBJECTS
    )
    wait_until(lambda: output.exists() and output.read_text().count("\n") >= 2, 20, "two lines")
    watching.process.send(SIGINT)
    assert watching.exit_code(20) == 130
    for line in output.read_text().splitlines()[:2]:
        data = json.loads(line)
        assert (data["schema"], data["kind"], data["servers"][0]["app"]) == (1, "ps", "Subject")
    assert server.stop() == 0


def test_watching_fits_the_terminal(launch, terminal):
    server = launch(SUPERVISED.with_(method="fork", workers=3, children=["setsid"]))
    server.wait_serving()
    rows = len(server.ask("ps").text.splitlines())
    assert rows >= 10, "the control: it would scroll"
    terminal.resize(8, 120)
    watching = server.box.start(
        [*COMMAND, "ps", "--watch"], env=server.env, output=Path(terminal.path), cwd=SUBJECTS
    )
    cleared = b"\x1b[H\x1b[2J"
    wait_until(lambda: terminal.shown.count(cleared) >= 2, 20, lambda: terminal.shown.decode())
    watching.process.send(SIGINT)
    assert watching.exit_code(20) == 130
    picture = terminal.shown.split(cleared)[1].decode()
    assert picture.count("\n") < 8
    assert "Subject" in picture.splitlines()[0]
    assert f"... and {rows - 6} more processes: " in picture
    assert server.stop() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="for root alone")
def test_root_sees_whose_each_process_is(launch):
    server = launch(SUPERVISED.with_(method="fork", workers=1))
    server.wait_serving()
    _, names, row, *_ = server.ask("ps").text.splitlines()
    assert names.split()[:3] == ["PID", "USER", "ROLE"]
    assert row.split()[1] == "root"
    assert processes(server)["main"]["uid"] == 0
    assert server.stop() == 0


def test_no_secret_is_written(launch):
    secret = "hunter2"
    server = launch(
        SUPERVISED.with_(method="fork", workers=1), env={"API_TOKEN": secret, "A_KEY": secret}
    )
    server.wait_serving()
    written = list((server.box.folder / "sanic-reaper").iterdir())
    suffixes = {path.suffix for path in written}
    suffixes.discard(".kin")  # the watchdog has seen a child before main has told of it
    assert suffixes == {".state", ".beat", ".socket", ".stack"}
    for path in written:
        assert path.stat().st_mode & 0o077 == 0
        if path.is_file():
            assert secret not in path.read_text()
    assert (server.box.folder / "sanic-reaper").stat().st_mode & 0o777 == 0o700
    assert server.stop() == 0


def test_control_plain_sanic_is_not_seen(launch):
    server = launch(PLAIN.with_(method="fork", workers=1))
    server.wait_serving()
    assert server.ask("ps").code == 1
    assert json.loads(server.ask("ps", "--json").text)["servers"] == []


@by_itself
def test_the_commands_import_no_sanic():
    program = (
        "import sys; from sanic_reaper.commands import ps, dump, sweep, health; "
        "heavy = {'sanic', 'psutil', 'asyncio', 'multiprocessing', 'subprocess', 'logging'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert found.stdout == b"[]\n"
