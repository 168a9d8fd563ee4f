"""The table of the words in which a worker reports, and both ends of its pipe."""

from __future__ import annotations

import ast
import json
import os
import random
import re
import subprocess
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sanic_reaper.worker
from sanic_reaper.config import Settings
from sanic_reaper.events import Hooks
from sanic_reaper.main.fleet import Fleet, Pipes
from sanic_reaper.main.worker import Worker
from sanic_reaper.main.worker_link import WorkerLink
from sanic_reaper.model import lifecycle
from sanic_reaper.model.questions import REQUESTS, VERSION
from sanic_reaper.protocol import worker as words
from sanic_reaper.protocol.watchdog import NotUnderstood
from sanic_reaper.protocol.worker import WORDS, read
from sanic_reaper.tree.process import start_of
from sanic_reaper.worker import startup

EXAMPLES: dict[str, list[Any]] = {
    "whole": [0, 9, 15, -9, 2**62],
    "moment": [0, 1.5, -3.25, 1e11, float("inf")],
    "seconds": [0, 0.5, float("inf")],
    "text": ["", "a text", "\x1b[31m", "\n", "\ud800", "x" * 5000],
    "flag": [True, False],
    "frames": [[], [["app.py", 3, "load"]], [["\ud800", -1, ""]] * 50],
}
BAD: dict[str, list[Any]] = {
    "whole": [None, True, 1.0, "1", 2**63, -(2**70), [], {}],
    "moment": [None, True, "1", float("nan"), float("-inf"), 1e300, 2**70, [1.0]],
    "seconds": [None, False, "", float("nan"), 1e13],
    "text": [None, 1, True, ["a text"], {}],
    "flag": [None, 0, 1, "true", []],
    "frames": [None, {}, "", [1], [[]], [["app.py", 3]], [["app.py", "3", "load"]], [None]],
}


def rows():
    for word, (_, fields) in words.WORDS.items():
        yield pytest.param(word, [kind for _, kind in fields], id=word)


def test_each_type_has_examples():
    kinds = {kind for _, fields in words.WORDS.values() for _, kind in fields}
    assert kinds == words.TYPES.keys() == EXAMPLES.keys() == BAD.keys()


@pytest.mark.parametrize(("word", "kinds"), [*rows()])
def test_a_message_is_read_whatever_its_fields_hold(word, kinds):
    values = [EXAMPLES[kind][0] for kind in kinds]
    for at, kind in enumerate(kinds):
        for value in EXAMPLES[kind]:
            fields = [*values[:at], value, *values[at + 1 :]]
            assert words.read([word, *fields]) == (word, fields)
    assert words.read([word, *values]) == (word, values)


@pytest.mark.parametrize(("word", "kinds"), [*rows()])
def test_a_message_with_other_fields_is_not_understood(word, kinds):
    values = [EXAMPLES[kind][0] for kind in kinds]
    wrong = [
        [*values[:at], bad, *values[at + 1 :]] for at, kind in enumerate(kinds) for bad in BAD[kind]
    ]
    wrong += [values[:-1]] if values else []
    for fields in wrong:
        for is_newer in (False, True):
            with pytest.raises(NotUnderstood):
                words.read([word, *fields], is_newer)


@pytest.mark.parametrize(("word", "kinds"), [*rows()])
def test_fields_that_a_later_release_has_added_are_dropped(word, kinds):
    values = [EXAMPLES[kind][0] for kind in kinds]
    longer = [word, *values, "more", {"and": "more"}]
    assert words.read(longer, is_newer=True) == (word, values)
    if word == words.HELLO:
        assert words.read(longer) == (word, values), "it tells the version"
        return
    with pytest.raises(NotUnderstood):
        words.read(longer)


# -- the worker's end -----------------------------------------------------------------------------


def sent_by_workers() -> dict[str, int]:
    """How many fields each word has where a worker sends it, as far as the code shows that."""
    found = {}
    for file in Path(sanic_reaper.worker.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("send"):
                first, *fields = node.args
                has_all = not any(isinstance(field, ast.Starred) for field in fields)
                if isinstance(first, ast.Constant) and isinstance(first.value, str) and has_all:
                    found[first.value] = len(fields)
    return found


def test_a_worker_sends_each_word_with_its_fields():
    sent = sent_by_workers()
    assert sent == {word: len(words.WORDS[word][1]) for word in sent}
    # `begin` and `work` are sent by one call, and the fields of the others are computed.
    computed = {words.BEGIN, words.WORK, words.WHERE, words.REQUEST, words.SLOW, words.TASK}
    assert words.WORDS.keys() - sent.keys() == computed


# -- main's end -----------------------------------------------------------------------------------


class Unwritten:
    """Stands in for the journal."""

    def __init__(self) -> None:
        self.reports = 0

    def on_report(self, *fields: object) -> None:
        self.reports += 1

    def started(self, child: object) -> None:
        pass


class Heard:
    """A process that says what the test has it say, and what main makes of that."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        settings = Settings.read({"REAPER_HEARTBEAT_TIMEOUT": 60.0})
        reader, self._writer = Pipe(duplex=False)
        self.journal: Any = Unwritten()
        fleet = Fleet(settings, Hooks([]), self.journal, lambda *_: None)
        handle: Any = SimpleNamespace(
            name="Sanic-Server-0-0", is_server=True, reaper_role="worker", exitcode=None
        )
        identity = process.pid, start_of(process.pid)
        fleet.add(handle, identity, 1000.0, Pipes(reader), beat_every=1.0)
        [worker] = fleet.living
        assert isinstance(worker, Worker)
        self.worker = worker

    @property
    def link(self) -> WorkerLink:
        return self.worker.link

    def say(self, *messages: object) -> None:
        for message in messages:
            text = b"\x1e" + json.dumps(message).encode() + b"\n"
            assert os.write(self._writer.fileno(), text) == len(text)
            self.link.hear()

    def close(self) -> None:
        self.link.close()
        self._writer.close()


@pytest.fixture
def heard():
    with subprocess.Popen(["sleep", "60"]) as process:
        found = Heard(process)
        yield found
        found.close()
        process.kill()


def handlers_of(link: WorkerLink) -> dict[str, list[Callable[..., None]]]:
    return link._handlers


def test_main_has_a_handler_for_each_word_and_no_other(heard):
    found = handlers_of(heard.link)
    assert found.keys() == words.WORDS.keys()
    for word, handlers in found.items():
        assert handlers != [heard.journal.on_report], f"nobody acts on {word!r}"


def test_what_main_does_not_understand_is_logged_once_with_its_sender(heard, caplog):
    heard.say(["greetings", 1], ["beat", "many"], ["listens", 1001.0])
    assert heard.worker.state == lifecycle.FINISHING_START, "main reads on"
    [line] = caplog.messages
    assert "main: dropped a message that is not understood (unknown word 'greetings')" in line
    assert (
        f"from Sanic-Server-0-0 [{heard.process.pid}]; later ones are dropped without a line"
        in line
    )
    assert line.endswith("Does its code write to descriptors that it has not opened?")


OTHER = "runs another release of sanic-reaper than the main process"


def test_a_worker_of_another_release_is_told_of_once_and_understood(heard, caplog):
    newer = words.VERSION + 1
    heard.say(["hello", newer, REQUESTS[1], "more"], ["tide", 1], ["listens", 1001.0, "more"])
    heard.say(["hello", newer + 1, 0])
    assert heard.worker.state == lifecycle.FINISHING_START
    found, dropped = caplog.messages
    assert found.startswith(f"[reaper] Sanic-Server-0-0 [{heard.process.pid}] {OTHER}")
    assert f"version {newer} of the protocol" in found
    assert f"version {words.VERSION}. " in found
    assert "restart the server" in found
    assert "(unknown word 'tide'), from Sanic-Server-0-0 [" in dropped
    assert dropped.endswith("It runs another release of the package")


@pytest.mark.parametrize("signum", [*REQUESTS, 9, 15, 0])
def test_a_worker_of_another_release_is_asked_by_a_signal_that_main_knows(heard, signum):
    heard.say(["hello", words.VERSION + 1, signum])
    assert heard.link.can_be_asked == (signum in REQUESTS)
    assert heard.link._request == (signum if signum in REQUESTS else 0)
    assert not heard.link.imports


def any_message(chance: random.Random) -> list[Any]:
    word, (_, fields) = chance.choice([*words.WORDS.items()])
    values = EXAMPLES if chance.random() < 0.9 else BAD
    return [word, *(chance.choice(values[kind]) for _, kind in fields)]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_that_is_written_to_the_pipe_raises_or_chooses_a_signal(heard, seed, caplog):
    """Not even where main turns in between, for `Worker.turn` looks at what was said before."""
    chance = random.Random(seed)
    heard.say(["hello", words.VERSION, 0])
    for _ in range(100):
        heard.say(any_message(chance))
        heard.worker.turn(chance.choice([0.0, 1001.0, 1e9]))
        assert heard.link._request in (0, *REQUESTS)
        assert heard.worker.state in lifecycle.STATES
    assert heard.process.poll() is None, "no signal of those that it has named was sent"
    assert len([line for line in caplog.messages if "not understood" in line]) == 1


# -- what is not trusted --------------------------------------------------------------------------


def deep() -> list[Any]:
    """A list in a list, so deep that `repr` fails."""
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.mark.parametrize(
    "message",
    [
        None,
        "hello",
        [],
        {},
        [1],
        [["hello"]],
        ["unheard of"],
        ["x" * 5000, *range(5000)],
        [deep()],
        ["failed", deep()],
        ["hello"],
        ["hello", "1"],
        ["hello", VERSION],
        ["hello", VERSION, "1"],
        ["ready"],
        ["ready", "now"],
        ["ready", True],
        ["ready", float("nan")],
        ["ready", 1e300],
        ["beat", 1.5, 0, 0.0],
        ["beat", 2**70, 0, 0.0],
        ["end", 1, 0, None],
        ["where", 1, [], 0],
        ["where", True, [["file", "1", "function"]], 0],
        ["where", True, [["file", 1]], 0],
    ],
)
def test_what_is_not_understood(message):
    with pytest.raises(NotUnderstood) as raised:
        read(message)
    assert len(str(raised.value)) < 100


@pytest.mark.parametrize(
    "message",
    [
        ["hello", VERSION, 61],
        ["ready", 1],
        ["ready", 1.5],
        ["begin", 1, "name", "file", 3, float("inf"), "source", 2**47, "event", 0.5],
        ["where", True, [["file", 1, "function"]], 0],
    ],
)
def test_what_is_understood(message):
    assert read(message) == (message[0], message[1:])


def test_each_word_that_a_worker_says_is_known():
    folder = Path(startup.__file__).parent
    source = "".join(file.read_text() for file in folder.glob("*.py"))
    said = set(re.findall(r'(?:send|send_begin|send_each)\(\s*"(\w+)"', source))
    assert said == WORDS.keys()
