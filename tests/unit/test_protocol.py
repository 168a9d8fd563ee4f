"""The tables of the words that a server's processes say to each other, and both ends of each."""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
from pathlib import Path

import pytest

import sanic_reaper
from sanic_reaper.main.watchdog_link import WatchdogLink
from sanic_reaper.model.questions import REQUESTS
from sanic_reaper.protocol import watchdog as wire
from sanic_reaper.protocol import worker
from sanic_reaper.protocol.channel import Channel
from sanic_reaper.tree.process import Handle, start_of
from sanic_reaper.watchdog.progress import GONE, WATCHING
from sanic_reaper.watchdog.watch import Watch

PACKAGE = Path(sanic_reaper.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"
ME = (os.getpid(), start_of(os.getpid()))
TABLES = {"to the watchdog": wire.TO_WATCHDOG, "to main": wire.TO_MAIN}
BY_SUPERVISOR = {wire.EXPIRED, wire.KILLED, wire.EXITED, wire.ZOMBIE}
NAMES = {value: name for name, value in vars(wire).items() if isinstance(value, str)}

EXAMPLES = {
    "pid": ("4711", 4711),
    "start": ("0", 0),
    "count": ("7", 7),
    "number": ("0.25", 0.25),
    "moment": ("inf", float("inf")),
    "signal": ("9", 9),
    "level": ("ERROR", "ERROR"),
    "format": ("json", "json"),
    "cause": ("hung", "hung"),
    "text": ("a text", "a text"),
    "texts": ("the last", "the last"),
}
BAD = {
    "pid": ["", "0", "-1", "4194305", "²"],
    "start": ["-1", "x"],
    "count": ["-1", "1.5"],
    "number": ["nan", "inf", "1e308"],
    "moment": ["nan", "-inf", ""],
    "signal": ["-9", "400", "x"],
    "level": ["", "error", "FATAL"],
    "format": ["", "JSON", "xml"],
    "cause": ["HUNG", "its event loop was blocked", "it was in the way"],
    "text": [],
    "texts": [],
}


def rows():
    for direction, table in TABLES.items():
        for word, (_, fields) in table.items():
            yield pytest.param(table, word, [kind for _, kind in fields], id=f"{word} {direction}")


@pytest.mark.parametrize(("table", "word", "kinds"), [*rows()])
def test_a_message_is_read_with_the_types_of_its_fields(table, word, kinds):
    texts, fields = zip(*map(EXAMPLES.get, kinds), strict=True) if kinds else ((), ())
    assert wire.read(table, [word, *texts]) == (word, [*fields])


@pytest.mark.parametrize(("table", "word", "kinds"), [*rows()])
def test_a_message_with_other_fields_is_not_understood(table, word, kinds):
    texts = [EXAMPLES[kind][0] for kind in kinds]
    wrong = [
        [*texts[:at], bad, *texts[at + 1 :]] for at, kind in enumerate(kinds) for bad in BAD[kind]
    ]
    if "texts" not in kinds:
        wrong += [[*texts, "1"], *([texts[:-1]] if texts else [])]
    for fields in wrong:
        with pytest.raises(wire.NotUnderstood):
            wire.read(table, [word, *fields])


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_an_unknown_word_is_not_understood(table):
    for message in ([""], ["greetings", "1"], ["x" * 5000]):
        with pytest.raises(wire.NotUnderstood) as raised:
            wire.read(table, message)
        assert len(str(raised.value)) < 100


def test_a_list_at_the_end_may_be_empty():
    assert wire.read(wire.TO_MAIN, ["done", "3"]) == ("done", [3])
    assert wire.read(wire.TO_MAIN, ["done", "3", "a", "b"]) == ("done", [3, "a", "b"])
    with pytest.raises(wire.NotUnderstood):
        wire.read(wire.TO_MAIN, ["done"])


def shown(table) -> str:
    """The table as `docs/protocol.md` has it."""
    lines = []
    for word, (sentence, fields) in table.items():
        named = (f"`{name}`" + (f" ({kind})" if kind != name else "") for name, kind in fields)
        lines.append(f"| `{word}` | {', '.join(named)} | {sentence} |\n")
    return "".join(lines)


def test_the_page_of_the_documents_has_the_words_of_workers():
    page = (DOCS / "protocol.md").read_text()
    assert shown(worker.WORDS) in page
    assert "".join(f"| {name} | {text} |\n" for name, text in worker.SIGNALS.items()) in page
    assert "".join(f"| `{word}` | {text} |\n" for word, text in worker.QUESTIONS.items()) in page


@pytest.mark.skipif(not hasattr(signal, "SIGRTMAX"), reason="no real-time signals")
def test_the_table_of_signals_has_those_by_which_a_worker_is_asked():
    requests, cont = worker.SIGNALS
    numbers = [int(number) for number in re.findall(r"-(\d+)", requests)]
    assert [signal.SIGRTMAX - number for number in numbers] == [*REQUESTS]
    assert cont == "SIGCONT"


def test_the_page_of_the_documents_has_these_tables():
    page = (DOCS / "protocol.md").read_text()
    assert [direction for direction, table in TABLES.items() if shown(table) not in page] == []


# -- both ends ------------------------------------------------------------------------------------


@pytest.fixture
def watch():
    ours, its = (Channel(end.detach()) for end in socket.socketpair())
    handle = Handle(*ME, None)
    yield Watch(handle, "run", 1.0, its, lambda level, text: None)
    ours.close()
    its.close()


def test_the_watchdog_has_one_handler_for_each_word(watch):
    assert watch._dispatcher.handlers.keys() == wire.TO_WATCHDOG.keys()


def link_of(**handlers) -> WatchdogLink:
    return WatchdogLink(ME, "run", 1.0, handlers, lambda identity: None, lambda: None)


def test_main_has_one_handler_for_each_word():
    assert link_of(**dict.fromkeys(BY_SUPERVISOR)).handlers.keys() == wire.TO_MAIN.keys()
    assert not BY_SUPERVISOR & link_of().handlers.keys(), "and no second one"
    source = (PACKAGE / "main" / "supervisor.py").read_text()
    assert all(f"wire.{NAMES[word]}: self." in source for word in BY_SUPERVISOR)


def words_named_in(folder: str) -> set[str]:
    """The words of this protocol that the modules of a folder name as `wire.WORD`."""
    found = set()
    for file in (PACKAGE / folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "wire":
                found.add(node.attr)
    return {word for word, name in NAMES.items() if name in found}


def test_each_word_has_a_sender():
    assert wire.TO_WATCHDOG.keys() - words_named_in("main") == set()
    assert wire.TO_MAIN.keys() - words_named_in("watchdog") == set()


@pytest.mark.parametrize("folder", ["main", "watchdog"])
def test_nobody_sends_a_word_that_is_not_a_name(folder):
    """What is misspelt is an error then, and not a message that the other end drops."""
    literal = [
        f"{file.name}:{node.lineno}"
        for file in (PACKAGE / folder).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("send", "_send", "_tell")
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
        and "." not in node.args[0].value  # an event, for the user's hooks
    ]
    assert literal == []


# -- another release, and nonsense ----------------------------------------------------------------


@pytest.mark.parametrize("version", [wire.VERSION, wire.VERSION + 1])
def test_a_watchdog_leaves_a_main_of_another_release_alone(watch, version):
    watch._dispatcher.dispatch([wire.HELLO, str(version)])
    assert watch.phase == (WATCHING if version == wire.VERSION else GONE)


class Teller:
    """A watchdog that says something."""

    pid = 4711

    def __init__(self, *said: list[str]) -> None:
        self._said = [*said]

    def receive(self) -> list[list[str]]:
        said, self._said = self._said, []
        return said


def test_main_logs_what_it_does_not_understand_once_and_goes_on(caplog):
    found = []
    link = link_of(zombie=lambda *fields: found.append(fields))
    link._endpoint = Teller(["greetings"], ["zombie", "x", "1"], ["zombie", "5", "1"])
    link.receive()
    assert found == [(5, 1)]
    [line] = caplog.messages
    assert "main: dropped a message that is not understood (unknown word 'greetings')" in line
    assert "from watchdog [4711]" in line


def test_a_signal_is_worded_by_main(caplog):
    link = link_of()
    fields = (
        "WARNING",
        "9",
        "worker",
        "W-0",
        "12",
        "started by main",
        "is late",
        "1.5",
        "its start",
        "startup",
    )
    link._endpoint = Teller(["signalled", *fields])
    link.receive()
    [line] = caplog.messages
    assert "SIGKILL to worker W-0 [12]: started by main, is late; 1.50 s after its start" in line
