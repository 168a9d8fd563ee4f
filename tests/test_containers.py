"""What the guide to containers promises: PID 1, a shell before it, an unprivileged user, nowhere to
write to.

No image is built here, and no cluster is asked: a container is a PID namespace with a file system
that is read-only. The manifests are checked against the published schemas.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sanic.config import DEFAULT_CONFIG
from support.box import closed_to_others, isolation
from support.census import holds, wait_until
from support.http import can_bind
from support.server import SHUTDOWN_TIMEOUT, SLACK, SUPERVISED, Server

from sanic_reaper.config import Settings

DEPLOYMENT = Path(__file__).parents[1] / "docs" / "deployment"
SCRIPT = Path(__file__).parent / "support" / "container.sh"
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private"]
USER = 10001
WRITES = 'touch "$0"/probe 2>/dev/null && echo "can write to $0"; exec "$@"'

FORKED = SUPERVISED.with_(method="fork")


# -- PID 1 ----------------------------------------------------------------------------------------

needs_root = pytest.mark.skipif(
    os.getuid() != 0 or isolation()[0] != "PID namespace" or not shutil.which("setpriv"),
    reason="needs root, to make a file system read-only, and a PID namespace",
)


@pytest.fixture
def contain(launch, new_box) -> Callable[..., Server]:
    def start(entrypoint: list[str], user: int = USER, **changes: Any) -> Server:
        closed = closed_to_others(Path(sys.prefix))
        if any(path != Path.home() for path in closed):
            pytest.skip(f"another user may not enter {closed[0]}, where this Python is")
        box = new_box()
        folder = box.folder / "container"
        folder.mkdir()
        folder.chmod(0o777)
        ours = [str(path) for path in {sys.base_prefix, sys.prefix, str(SCRIPT.parents[2])}]
        inside = ["sh", str(SCRIPT), str(box.folder), str(user), *ours, "--", *entrypoint]
        return launch(FORKED.with_(**changes), box=box, argv=[*UNSHARE, *inside])

    return start


ENTRYPOINT = [str(DEPLOYMENT / "entrypoint.sh"), sys.executable, "app.py"]


@pytest.mark.root
@needs_root
def test_a_server_in_a_container(contain):
    """Behind the guide's entrypoint main is PID 1: it serves, hears of a stop, leaves nobody."""
    server = contain(["sh", "-c", WRITES, "/var/tmp", *ENTRYPOINT], children=["daemon"])
    workers = server.wait_serving()
    assert server.main.inner_pid == 1
    status = Path(f"/proc/{server.main.pid}/status").read_text()
    for line in (f"Uid:\t{USER}\t{USER}", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000"):
        assert line in status
    assert "can write" not in server.output()
    assert server.get()[0] == 200
    wait_until(lambda: probe(server, "--ready") == 0, 10, server.describe)
    assert probe(server, "--live") == 0
    server.main.freeze()
    wait_until(lambda: probe(server, "--live") == 1, 10, server.describe)
    server.main.send(signal.SIGCONT)
    killed = workers[0].inner_pid
    workers[0].send(signal.SIGKILL)
    server.wait_for("after_server_start", 3)
    server.send(signal.SIGTERM)  # as `docker stop`
    assert server.exit_code(SHUTDOWN_TIMEOUT + SLACK) == 0
    server.wait_gone(1.0)
    assert can_bind(server.port)
    deaths = [line for line in server.output().splitlines() if "has died" in line]
    assert [f"[{killed}] has died: " in line for line in deaths] == [True], deaths
    assert "killed" not in server.output().splitlines()[-1], "and none by the stop"


def probe(server: Server, kind: str) -> int:
    """As a kubelet or `docker exec` does it: the manifest's command, in the container."""
    enter = ["nsenter", "-t", str(server.main.pid), "-p", "-m", "-S", str(USER), "-G", str(USER)]
    command = [*enter, "--", sys.executable, "-m", "sanic_reaper.cli", "health", kind]
    return subprocess.run(command, env=server.env, check=False, capture_output=True).returncode


@pytest.mark.root
@needs_root
def test_control_a_shell_that_stays_does_not_hear_of_the_stop(contain):
    """As PID 1 it has no handler for SIGTERM, and the kernel drops the signal."""
    command = f'"{sys.executable}" app.py; echo "next line, after $?"'
    server = contain(["sh", "-c", WRITES, str(SCRIPT.parent), "sh", "-c", command])
    server.wait_serving()
    shell = next(row.process for row in server.box.rows() if row.process.inner_pid == 1)
    assert shell != server.main
    shell.send(signal.SIGTERM)
    assert holds(lambda: server.get()[0] == 200, 2)
    shell.send(signal.SIGKILL)  # when the grace period is over
    server.wait_gone(SLACK)
    assert "next line" not in server.output()


@pytest.mark.root
@needs_root
def test_control_elsewhere_the_same_user_may_write(new_box, tmp_path):
    command = new_box().start(
        ["sh", "-c", WRITES, "/var/tmp", "rm", "/var/tmp/probe"],
        output=tmp_path / "out",
        cwd=Path("/"),
        uid=USER,
    )
    assert command.exit_code(5) == 0
    assert "can write" in (tmp_path / "out").read_text()


# -- the files ------------------------------------------------------------------------------------


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOYMENT / "kubernetes.yaml").read_text()))


@pytest.fixture
def pod() -> dict[str, Any]:
    [deployment] = [found for found in manifests() if found["kind"] == "Deployment"]
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def variables(pod: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}


@pytest.mark.parametrize("release", ["1.29", "1.37"])
def test_the_manifests_are_valid(release):
    validator = pytest.importorskip(
        "kubernetes_validate", reason="needs the schemas: pip install -e '.[deployment]'"
    )
    found = manifests()
    for manifest in found:
        validator.validate(manifest, release, strict=True)
    found[0]["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["periodSecond"] = 1
    with pytest.raises(validator.ValidationError, match="periodSecond"):
        validator.validate(found[0], release, strict=True)


def test_the_grace_periods_are_long_enough(pod):
    settings = Settings.read(
        {
            **DEFAULT_CONFIG,
            "REAPER_SHUTDOWN_TIMEOUT": float(variables(pod)[f"{PREFIX}SHUTDOWN_TIMEOUT"]),
        }
    )
    _, pause = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > settings.shutdown_timeout + int(pause)
    service = compose()["services"]["app"]
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace > float(service["environment"][f"{PREFIX}SHUTDOWN_TIMEOUT"])


PREFIX = "SANIC_REAPER_"


def test_the_startup_probe_outlasts_the_start(pod):
    probe = pod["containers"][0]["startupProbe"]
    limit = float(variables(pod)[f"{PREFIX}STARTUP_TIMEOUT"])
    assert probe["periodSeconds"] * probe["failureThreshold"] > limit


def test_the_probes_ask_where_the_server_answers(pod):
    container = pod["containers"][0]
    path = container["readinessProbe"]["httpGet"]["path"]
    assert path == f"{variables(pod)[f'{PREFIX}ENDPOINT']}/ready"
    assert container["readinessProbe"]["httpGet"]["port"] == container["ports"][0]["name"]


def test_the_file_system_is_read_only_but_for_tmp(pod):
    container = pod["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    service = compose()["services"]["app"]
    assert (service["read_only"], service["tmpfs"]) == (True, ["/tmp"])


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOYMENT / "compose.yaml").read_text())
    return found


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="needs docker-compose (apt-get)")
def test_compose_understands_its_file(tmp_path):
    """`config` needs no daemon. It refuses a key that it does not know."""
    file = tmp_path / "compose.yaml"
    text = (DEPLOYMENT / "compose.yaml").read_text()
    for content, code in [(text, 0), (text.replace("stop_grace_period", "stop_grace"), 1)]:
        file.write_text(content)
        command = ["docker-compose", "-f", str(file), "config"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == code


def test_the_image_starts_a_server_not_a_shell():
    """The shell that is left says `exec`. The user is a number: runAsNonRoot believes no name."""
    lines = [line.split(" ", 1) for line in (DEPLOYMENT / "Dockerfile").read_text().splitlines()]
    words = {line[0]: line[1] for line in lines if len(line) == 2}
    assert json.loads(words["ENTRYPOINT"]) == ["./entrypoint.sh"]
    assert json.loads(words["CMD"]) == ["python", "app.py"]
    assert words["USER"] == "10001:10001" == compose()["services"]["app"]["user"]
    assert os.access(DEPLOYMENT / "entrypoint.sh", os.X_OK)
    assert (DEPLOYMENT / "entrypoint.sh").read_text().endswith('\nexec "$@"\n')


# -- two of them that share a directory ------------------------------------------------------------


@pytest.mark.skipif("namespace" not in isolation()[0], reason="may not make a PID namespace")
def test_two_containers_that_share_a_runtime_directory(launch, new_box):
    """Neither sees the other's processes, and each leaves the other's files alone: when it starts,
    stops, is killed, and starts once more."""
    subject = FORKED.with_(workers=1).with_config(REAPER_ENDPOINT="/reaper")
    box = new_box()
    shared = {"XDG_RUNTIME_DIR": str(box.folder), "TMPDIR": str(box.tmp)}
    first = launch(subject.with_(children=["setsid"]), box=box, env=shared)
    first.wait_serving()
    place = box.folder / "sanic-reaper"
    wait_until(lambda: list(place.glob("*.kin")), 20, first.describe)
    ours = {path: path.stat().st_ino for path in place.iterdir() if path.suffix == ".socket"}

    def assert_well(server: Server) -> None:
        assert server.get("/reaper/ready") == (200, "ok\n")
        assert server.ask("health", "--ready").code == 0
        assert server.ask("dump", "Sanic-Server-0-0").code == 0
        assert {path: path.stat().st_ino for path in ours} == ours
        assert list(place.glob("*.kin"))

    wait_until(lambda: first.ask("health", "--ready").code == 0, 20, first.describe)
    assert_well(first)
    other = new_box()
    for end in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        second = launch(subject, box=other, env=shared)
        second.wait_serving()
        wait_until(lambda server=second: server.ask("health", "--ready").code == 0, 20, "it to be")
        assert_well(first)
        [shown] = second.ask("ps", "--json").data["servers"]
        assert shown["main"] == second.main.inner_pid
        second.send(end)
        second.exit_code()
        other.wait_empty(SHUTDOWN_TIMEOUT + SLACK)
        assert_well(first)
    assert first.stop() == 0
