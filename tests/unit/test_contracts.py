"""The contracts with Sanic, sanic-ext and CPython: their table, their probes, what follows."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from functools import wraps
from pathlib import Path

import pytest
import sanic
from sanic import Sanic

from sanic_reaper.compat import contracts, nice_cpython
from sanic_reaper.compat.contracts import (
    GUARDS,
    Broken,
    Contract,
    Missing,
    broken_of,
    decide,
    newer_than_checked,
)
from sanic_reaper.compat.probes import accepts, has, is_found, stores, takes, uses
from sanic_reaper.compat.table import CONTRACTS

PAGE = Path(__file__).parents[2] / "docs" / "compat.md"

pytestmark = pytest.mark.smoke


def test_every_contract_holds_with_what_is_installed():
    assert not list(broken_of(CONTRACTS))


def test_the_page_has_the_same_table():
    rows = [
        f"| {one.name} | {one.relies_on} | {'vital' if one.is_vital else 'nice'} | {one.lost} "
        f"| {one.seen} |"
        for one in CONTRACTS
    ]
    assert [line for line in PAGE.read_text().splitlines() if line in rows] == rows


@pytest.mark.parametrize("one", CONTRACTS, ids=lambda one: one.name)
def test_a_row_stands_alone(one):
    assert one.probes
    assert one.relies_on.endswith(".")
    assert one.lost.endswith(".")


def test_each_contract_has_a_name_of_its_own():
    assert len({one.name for one in CONTRACTS}) == len(CONTRACTS)


# -- what follows ---------------------------------------------------------------------------------

NICE = Contract("counter", "Sanic counts.", (), "nothing is counted.")
LATER = Contract("clock", "Sanic has a clock.", (), "nobody knows the time.")
VITAL = Contract("manager", "Sanic manages.", (), "Sanic manages.", is_vital=True)
OTHER = Contract("loop", "Sanic loops.", (), "Sanic loops.", is_vital=True)


@pytest.mark.parametrize(
    ("broken", "newer", "levels", "words", "off", "guards_only"),
    [
        ([], [], [], [], set(), False),
        (
            [Broken(NICE, "there is no counter")],
            [],
            ["WARNING"],
            ["counter: there is no counter. Without it nothing is counted."],
            {"counter"},
            False,
        ),
        ([Broken(VITAL, "gone")], [], ["ERROR"], ["manager: gone", GUARDS], set(), True),
        (
            [Broken(VITAL, "gone"), Broken(OTHER, "too")],
            [],
            ["ERROR"],
            ["manager: gone; loop: too"],
            set(),
            True,
        ),
        (
            [Broken(NICE, "no"), Broken(VITAL, "gone")],
            [],
            ["ERROR"],
            ["manager: gone", "counter: no"],
            {"counter"},
            True,
        ),
        (
            [Broken(NICE, "gone"), Broken(VITAL, "gone")],
            [],
            ["ERROR"],
            ["(manager: gone)"],
            {"counter"},
            True,
        ),
        (
            [Broken(NICE, "no"), Broken(LATER, "neither")],
            [],
            ["WARNING"],
            ["counter: no. Without it nothing is counted. clock: neither."],
            {"counter", "clock"},
            False,
        ),
        ([], ["Sanic 26.6 is newer"], ["WARNING"], ["Sanic 26.6 is newer"], set(), False),
    ],
    ids=[
        *("all hold", "a nice one", "a vital one", "two vital ones", "both kinds"),
        *("the same thing in both", "two nice ones", "newer"),
    ],
)
def test_what_follows(broken, newer, levels, words, off, guards_only):
    found = decide(broken, newer)
    assert [level for level, _ in found.lines] == levels
    text = "\n".join(line for _, line in found.lines)
    assert all(word in text for word in words)
    assert (found.off, found.guards_only) == (off, guards_only)


@pytest.mark.parametrize(
    ("versions", "count"),
    [
        ({"sanic": "25.12.1", "sanic_ext": "25.12.0"}, 0),
        ({"sanic": "24.12.1", "sanic_ext": "24.12.0"}, 0),
        ({"sanic": "26.3.0", "sanic_ext": "25.12.0"}, 1),
        ({"sanic": "26.3.0", "sanic_ext": "26.3.0"}, 2),
        ({"sanic": "25.13.0"}, 1),
        ({"sanic": ""}, 0),
        ({"sanic": "main"}, 0),
    ],
)
def test_what_is_newer_than_what_was_checked(versions, count):
    assert len(newer_than_checked(versions)) == count


def test_the_versions_of_what_is_installed_are_known():
    assert contracts.installed()["sanic"] == sanic.__version__


# -- probes ---------------------------------------------------------------------------------------


class Theirs:
    limit = 3

    def __init__(self, length, width):
        self.length = length
        self.width = width

    def method(self, first, second=None):
        return self.helper("word", key=first)

    def helper(self, *words, **more):
        def within():
            return self.inner

        return within

    def note(self):
        self.inner.length = self.size = 1
        self.outer.width = 2

    @classmethod
    def make(cls, one):
        return cls

    @property
    def size(self):
        return self.length


@pytest.fixture
def at(monkeypatch):
    module = types.ModuleType("theirs_of_the_tests")
    module.Theirs = Theirs
    for one in vars(Theirs).values():
        function = getattr(one, "__func__", getattr(one, "fget", one))
        if isinstance(function, types.FunctionType):
            monkeypatch.setattr(function, "__module__", module.__name__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return "theirs_of_the_tests:Theirs"


@pytest.mark.parametrize(
    ("make", "missing"),
    [
        (lambda at: has(f"{at}.limit", f"{at}.method"), None),
        (lambda at: has(f"{at}.limits"), "has no limits"),
        (lambda at: has("no_such_module:Theirs"), "there is no no_such_module"),
        (lambda at: takes(f"{at}.method", "self", "first"), None),
        (lambda at: takes(f"{at}.method", "self", "first", "second", count=3), None),
        (lambda at: takes(f"{at}.method", count=2), "takes self, first, second"),
        (lambda at: takes(f"{at}.method", "self", "second"), "takes self, first, second"),
        (lambda at: takes(f"{at}.make", "cls", "one"), None),
        (lambda at: accepts(f"{at}.method", "second"), None),
        (lambda at: accepts(f"{at}.method", "third"), "takes no third"),
        (lambda at: uses(f"{at}.method", "helper", "word", "key"), None),
        (lambda at: uses(f"{at}.method", "helpers"), "uses no helpers"),
        (lambda at: uses(f"{at}.helper", "inner"), None),
        (lambda at: uses(f"{at}.size", "length"), None),
        (lambda at: uses("builtins:len", "whatever"), None),
        (lambda at: stores(f"{at}.note", "inner", "length"), None),
        (lambda at: stores(f"{at}.__init__", "self", "width"), None),
        (lambda at: stores(f"{at}.__init__", "length", "self"), "assigns to no length.self"),
        (lambda at: stores(f"{at}.note", "inner", "size"), "assigns to no inner.size"),
        (lambda at: stores(f"{at}.note", "outer", "size"), "assigns to no outer.size"),
        (lambda at: stores("builtins:len", "inner", "size"), None),
        (lambda at: is_found("nothing", lambda: 1), None),
        (lambda at: is_found("nothing", lambda: 0), "nothing"),
    ],
)
def test_a_probe(at, make, missing):
    probe = make(at)
    if missing is None:
        probe()
    else:
        with pytest.raises(Missing, match=missing):
            probe()


def test_a_probe_sees_through_a_wrapper(at, monkeypatch):
    """Of a tracing library's, say: it is no reason to switch anything off."""
    original = Theirs.method

    @wraps(original)
    def method(*args, **kwargs):
        return original(*args, **kwargs)

    monkeypatch.setattr(Theirs, "method", method)
    uses(f"{at}.method", "helper")()
    takes(f"{at}.method", "self", "first")()


def test_somebody_elses_wrapper_that_does_not_tell_what_it_wraps(at, monkeypatch):
    """Nobody can know what is beneath it: that is no reason to switch anything off."""
    for name in ("method", "note"):
        monkeypatch.setattr(Theirs, name, lambda *args, **kwargs: None)
    uses(f"{at}.method", "no such word")()
    takes(f"{at}.method", "no_such_parameter")()
    accepts(f"{at}.method", "no_such_parameter")()
    stores(f"{at}.note", "no", "such")()
    with pytest.raises(Missing):
        has(f"{at}.nothing")()


def test_a_probe_that_fails_is_a_contract_that_does_not_hold():
    def probe():
        raise OSError("no")

    [broken] = broken_of([NICE._replace(probes=(probe,))])
    assert "OSError" in broken.why


def test_a_server_before_this_one_has_left_its_wrapper(monkeypatch):
    """`Sanic.serve` is wrapped for good, and the probes look beneath that."""
    from sanic_reaper.compat.sanic_app import after_serve

    monkeypatch.setattr(Sanic, "serve", Sanic.__dict__.get("serve", Sanic.serve), raising=False)
    after_serve(lambda: None)
    assert not list(broken_of(CONTRACTS))


# -- what a worker says ---------------------------------------------------------------------------


def test_a_worker_in_which_something_has_not_happened(monkeypatch):
    monkeypatch.setattr(contracts, "_decision", decide([]))
    monkeypatch.setattr(contracts, "_reported", set())
    assert re.match(
        "start handlers: .* @startup_timeout", contracts.line_for_unused("start handlers")
    )
    assert contracts.line_for_unused("start handlers") is None


def test_what_the_probes_have_told_is_not_told_again(monkeypatch):
    [one] = [one for one in CONTRACTS if one.name == "start handlers"]
    monkeypatch.setattr(contracts, "_decision", decide([Broken(one, "gone")]))
    assert contracts.line_for_unused("start handlers") is None


def test_a_worker_can_name_no_contract_that_there_is_not():
    assert contracts.line_for_unused("whatever") is None


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is called there alone")
def test_the_parts_of_ctypes_are_looked_for_where_they_are_called(monkeypatch):
    """Neither on another system nor in a Python without any of them, which has its own warning."""
    _ctypes = pytest.importorskip("_ctypes")
    monkeypatch.delattr(_ctypes, "call_function")
    with pytest.raises(Missing, match="call_function"):
        nice_cpython._calls_c()
    with monkeypatch.context() as without:
        without.setattr(importlib.util, "find_spec", lambda name: None)
        assert nice_cpython._calls_c() is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert nice_cpython._calls_c() is None
