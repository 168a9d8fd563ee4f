"""Two users: what another one leaves in his own directories costs root's commands and root's server
nothing, and neither sees what the other wrote as more than text."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM

import pytest
from support.box import Box, isolation
from support.census import wait_until
from support.commands import COMMAND, Said, run
from support.http import can_bind
from support.server import SUPERVISED, Server
from support.strangers import sleeper

from sanic_reaper import marks, state
from sanic_reaper.state.records import believable

NOBODY = 65534
HIS = Path(f"/tmp/sanic-reaper-{NOBODY}")

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.getuid() != 0 or isolation()[0] != "PID namespace",
        reason="needs root, for a second user and for a /tmp of one's own",
    ),
]


@pytest.fixture
def box(new_box: Callable[[], Box], monkeypatch: pytest.MonkeyPatch) -> Box:
    """One with a /tmp of its own: what an attacker leaves there is nobody else's business."""
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp")
    box = new_box()
    mounted = ["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp"]
    assert box.start(mounted, output=box.folder / "mount", cwd=Path("/")).exit_code(20) == 0
    return box


@pytest.fixture
def server(launch: Callable[..., Server], box: Box) -> Server:
    """Root's. It must go on, whatever the others do."""
    server = launch(
        SUPERVISED.with_(method="fork", workers=1), box=box, output=box.folder / "output"
    )
    server.wait_serving()
    wait_until(lambda: ask(server, "health", "--ready").code == 0, 30, server.describe)
    return server


def ask(server: Server, *arguments: str) -> Said:
    return run(server.box, server.env, server.box.folder / "said", *arguments)


ATTACK = """
import os, socket, sys, threading, time
os.setgid(65534), os.setuid(65534)
os.umask(0o077)
HIS = "/tmp/sanic-reaper-65534"
os.makedirs(HIS, exist_ok=True)

def server(**fields):
    start = open("/proc/self/stat").read().rpartition(")")[2].split()[19]
    real = dict(
        version=1, run="e" * 16, app="Forged", pid=os.getpid(), start=start, boot=BOOT,
        namespace=os.readlink("/proc/self/ns/pid"), began=1, phase="serving", wanted=1,
    )
    write(real | fields)

def write(fields, *lines):
    words = ["server", *(f"{key}={value}" for key, value in fields.items())]
    with open(f"{HIS}/{'e' * 16}.state", "w") as file:
        file.write("\\t".join(words) + "\\n" + "".join(lines))
    with open(f"{HIS}/{'e' * 16}.beat", "w") as file:
        file.write("0.0\\n")

BOOT = open("/proc/sys/kernel/random/boot_id").read().strip()
WORKER = f"process\\tpid={os.getpid()}\\tstart=1\\trole=worker\\tname=Sanic-Server-0-0\\n"
"""


def attack(box: Box, code: str, wait: bool = True) -> None:
    """What an ordinary user may do. It runs until the box is closed."""
    done = box.folder / "attacked"
    done.unlink(missing_ok=True)
    program = f"{ATTACK}\n{code}\nopen({str(done)!r}, 'w').close()\ntime.sleep(600)"
    box.start([sys.executable, "-c", program], output=box.folder / "attack", cwd=Path("/"))
    wait_until(done.exists, 20, lambda: (box.folder / "attack").read_text())


FORGED = {
    "a directory of no number": "os.mkdir('/tmp/sanic-reaper-²'); os.mkdir('/tmp/sanic-reaper-٣')",
    "a pid of twenty digits": "server(pid='9' * 20)",
    "a pid of 5000 digits": "server(pid='9' * 5000)",
    "no moment": "server(began='x', since='nan', clock='inf')",
    "no number of workers": "server(wanted='x')",
    "a broken process": "server(app='F\\nprocess\\tpid=x\\tstart=²\\tname=x')",
    "noise": "open(f'{HIS}/noise.state', 'wb').write(os.urandom(100_000))",
    "a run with a path": "server(run='../../etc/x')",
    "many": "[open(f'{HIS}/{n}.state', 'w').write('server\\n') for n in range(5000)]",
    "long": "open(f'{HIS}/long.state', 'w').truncate(2**33)",
}


@pytest.mark.parametrize("forgery", FORGED)
def test_roots_commands_work_whatever_others_have_left(server, forgery):
    attack(server.box, FORGED[forgery])
    for command in (
        ["ps"],
        ["ps", "--json"],
        ["health", "--live"],
        ["health", "--ready", "--json"],
        ["report"],
        ["dump", "Sanic-Server-0-0"],
        ["sweep", "--all-apps", "--yes"],
    ):
        said = ask(server, *command)
        assert "Traceback" not in said.text, said.text
        assert said.code == 0, (command, said)
    text = ask(server, "ps", "--json").text
    notes, brace, data = text.partition("{")
    assert len(notes.splitlines()) <= 1, "one line at most tells of what is not understood"
    shown = json.loads(brace + data)["servers"]
    assert "Subject" in [one["app"] for one in shown]
    assert server.get()[0] == 200


def test_roots_start_works_whatever_others_have_left(launch, box):
    """It looks at who is left, and who has the port."""
    attack(box, "server(pid='9' * 20); os.mkdir('/tmp/sanic-reaper-²')")
    server = launch(SUPERVISED.with_(method="fork"), box=box, output=box.folder / "output")
    server.wait_serving()
    assert "Traceback" not in (box.folder / "output").read_text()


def test_a_pid_of_twenty_digits_in_an_environment(server, tmp_path):
    box = server.box
    for number, pid in enumerate(("9" * 20, "9" * 5000, "²")):
        borne = {marks.RUN: "f" * 16, marks.MAIN: f"{pid}\t1\tForged\t/"}
        sleeper(box, box.folder / f"sleeper{number}", env={**os.environ, **borne}, uid=NOBODY)
    for command in (["ps"], ["sweep", "--all-apps", "--yes"]):
        said = ask(server, *command)
        assert (said.code, "Traceback" in said.text) == (0, False), said


def test_roots_health_judges_roots_servers(server):
    """A forged server that is unwell would have a probe restart a healthy one."""
    attack(server.box, "server(phase='stopping')")
    assert ask(server, "health", "--live").code == 0
    said = ask(server, "health", "--live", "--all-users")
    assert (said.code, "Forged" in said.text) == (1, True)
    for user in ("nobody", str(NOBODY)):
        said = ask(server, "health", "--live", "--user", user)
        assert (said.code, "Forged" in said.text, "Subject" in said.text) == (1, True, False)
    assert ask(server, "health", "--live", "--user", "root").code == 0
    assert ask(server, "health", "--live", "--user", "no such user").code == 2
    server.send(SIGTERM)
    assert server.exit_code() == 0
    said = ask(server, "health", "--live")
    assert said.code == 1
    assert f"no server is running as user 0; servers are running as user {NOBODY}" in said.text


def test_what_a_terminal_would_obey_is_shown_as_text(server):
    nasty = "\\x1b]0;owned\\x07\\x1b[2J"
    fields = ", ".join(
        f"{key}={nasty!r}" for key in ("app", "phase", "method", "address", "directory", "words")
    )
    child = WORKER_OF_HIS.replace("NASTY", nasty)
    attack(server.box, f"server({fields})\n{child}".replace("\\\\", "\\"))
    for command in (
        ["ps"],
        ["report", "--app", "Subject"],
        ["report", "--app", "no such app"],
        ["health", "--live", "--all-users"],
        ["dump", "no such worker"],
        ["sweep", "--all-apps", "--yes"],
    ):
        text = ask(server, *command).text
        assert not any(sign in text for sign in "\x1b\x07\r"), repr(text)
    assert "owned" in ask(server, "ps").text, "it is shown"


WORKER_OF_HIS = """
with open(f"{HIS}/{'e' * 16}.state", "a") as file:
    start = open("/proc/self/stat").read().rpartition(")")[2].split()[19]
    for role in ("worker", "main", "NASTY"):
        file.write(f"process\\tpid={os.getpid()}\\tstart={start}\\trole={role}\\tname=NASTY\\t"
                   f"state=NASTY\\tdoing=NASTY\\tfile=NASTY\\n")
"""

SOCKETS = {
    "sends without end": """
connection.recv(100)
try:
    while True:
        connection.sendall(b"x" * 65536)
except OSError:
    pass
""",
    "sends a little without end": """
connection.recv(100)
try:
    while True:
        connection.sendall(b"x")
        time.sleep(0.2)
except OSError:
    pass
""",
    "says nothing": "time.sleep(600)",
}


@pytest.mark.parametrize("kind", SOCKETS)
def test_a_forged_socket_holds_nobody(server, kind):
    """Neither for ever, nor in memory."""
    serve = "\n    ".join(SOCKETS[kind].splitlines())
    listen = f"""
{FORGED_SERVER}
def serve():
    connection, _ = listener.accept()
    {serve}
threading.Thread(target=serve, daemon=True).start()
"""
    attack(server.box, listen)
    limited = ["sh", "-c", 'ulimit -v 300000; exec "$@"', "sh"]
    output = server.box.folder / "dump"
    command = server.box.start(
        [*limited, *COMMAND, "dump", "--app", "Forged", "Sanic-Server-7-0"],
        output=output,
        env=server.env,
        cwd=Path("/"),
    )
    assert command.exit_code(20) == 1, output.read_text()
    text = output.read_text()
    assert "Traceback" not in text
    assert "longer than" in text or "has not answered within" in text, text


FORGED_WORKER = """
with open(f"{HIS}/{'e' * 16}.state", "a") as file:
    start = open("/proc/self/stat").read().rpartition(")")[2].split()[19]
    file.write(f"process\\tpid={os.getpid()}\\tstart={start}\\trole=worker\\tname=Sanic-Server-7-0\\t"
               "state=serving\\n")
"""

FORGED_SERVER = f"""
server(app="Forged", method="fork", phase="serving")
{FORGED_WORKER}
listener = socket.socket(socket.AF_UNIX)
listener.bind(f"{{HIS}}/{{'e' * 16}}.socket")
listener.listen()
"""
"""With a worker, and a control socket on which it listens."""


FORGED_ANSWERS = {
    "no fields": '{"how": 1}',
    "deep": "[" * 100_000,
    "other types": '{"how": "x", "count": 1, "requests": [{"method": "GET"}]}',
}


@pytest.mark.parametrize("kind", FORGED_ANSWERS)
def test_a_forged_list_of_requests(server, kind):
    listen = f"""
{FORGED_SERVER}
def serve():
    connection, _ = listener.accept()
    connection.recv(100)
    connection.sendall(b"ok\\n" + {FORGED_ANSWERS[kind].encode()!r})
    connection.close()
threading.Thread(target=serve, daemon=True).start()
"""
    attack(server.box, listen)
    said = ask(server, "requests")
    assert said.code == 1
    assert "Traceback" not in said.text
    assert "of Forged: its answer is incomplete" in said.text
    assert said.text.index("of Subject: no requests") < said.text.index("of Forged")


def test_ones_own_worker_is_dumped_although_another_user_claims_its_name(server):
    claimed = FORGED_WORKER.replace("Sanic-Server-7-0", "Sanic-Server-0-0")
    attack(server.box, f"server(app='Forged')\n{claimed}")
    said = ask(server, "dump", "Sanic-Server-0-0")
    assert said.code == 0, said


TAKEN = """
listener = socket.create_server(("127.0.0.1", PORT))
"""


def test_who_has_the_port_does_not_choose_what_is_in_roots_log(launch, box, ports):
    port = ports.take()
    script = box.folder / "\x1b[2J\r\nforged line\u202e.py"
    script.write_text(f"{ATTACK}\n{TAKEN.replace('PORT', str(port))}\ntime.sleep(600)")
    argv = [sys.executable, script.name]
    box.start(argv, output=box.folder / "holder", cwd=box.folder)
    wait_until(lambda: not can_bind(port), 20, lambda: (box.folder / "holder").read_text())
    output = box.folder / "output"
    server = launch(SUPERVISED.with_(method="fork"), box=box, port=port, output=output)
    assert server.exit_code() == 1
    text = output.read_text()
    assert "is taken by" in text
    assert not any(sign in text for sign in "\x1b\r\u202e"), repr(text)
    assert not any(line.startswith("forged line") for line in text.splitlines())


def test_state_words(server):
    """The words that the files of a real server have are those that readers take."""
    [path] = (server.box.folder / "sanic-reaper").glob("*.state")
    records = state.parse(path.read_bytes())
    assert list(believable(records)) == [(kind, {**fields}) for kind, fields in records], (
        "nothing that main writes is dropped"
    )
