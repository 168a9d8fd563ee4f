"""Probes: functions that look for something, and raise `Missing` if it is not there.

They look at objects and at compiled code. They never read source text, which a user may not have.
"""

from __future__ import annotations

import dis
import importlib
import inspect
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import CodeType
from typing import Any

from .contracts import Missing, Probe

APP = "sanic:Sanic"
SERVE = f"{APP}.serve"
STARTUP = "sanic.mixins.startup"
MANAGER = "sanic.worker.manager:WorkerManager"
PROCESS = "sanic.worker.process:WorkerProcess"
RUNNERS = "sanic.server.runners"
HTTP = "sanic.http.http1:Http"
MULTIPLEXER = "sanic.worker.multiplexer:WorkerMultiplexer"


def find(path: str) -> Any:
    """The object at a path, such as `sanic.server.runners:_run_server_forever`.

    Raises:
        Missing: there is none.
    """
    module, _, names = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        raise Missing(f"there is no {module}") from None
    done = module
    for name in filter(None, names.split(".")):
        try:
            found = inspect.getattr_static(found, name)
        except AttributeError:
            raise Missing(f"{done} has no {name}") from None
        done = f"{done}.{name}"
    return found


def has(*paths: str) -> Probe:
    """A probe: there is something at each path."""
    return lambda: [find(path) for path in paths]


def takes(path: str, *parameters: str, count: int | None = None) -> Probe:
    """A probe: a function takes these parameters, first and in this order.

    Args:
        path: path of the function.
        parameters: names of the parameters.
        count: number of all parameters. `None`: any.
    """

    def probe() -> None:
        function = _original(path)
        if function is None:
            return
        found = list(inspect.signature(function).parameters)
        if found[: len(parameters)] != list(parameters) or count not in (None, len(found)):
            raise Missing(f"{path.partition(':')[2]} takes {', '.join(found)}")

    return probe


def accepts(path: str, *parameters: str) -> Probe:
    """A probe: a function has parameters of these names, at any position."""

    def probe() -> None:
        function = _original(path)
        found = inspect.signature(function).parameters if function is not None else parameters
        if missing := [name for name in parameters if name not in found]:
            raise Missing(f"{path.partition(':')[2]} takes no {', '.join(missing)}")

    return probe


def uses(path: str, *words: str) -> Probe:
    """A probe: the code of a function uses these names or constants.

    A function in C does not tell what it uses. Then the contract holds.
    """

    def probe() -> None:
        code = getattr(_original(path), "__code__", None)
        known = set(words_of(code)) if isinstance(code, CodeType) else set(words)
        if missing := [word for word in words if word not in known]:
            raise Missing(f"{path.partition(':')[2]} uses no {', '.join(missing)}")

    return probe


def stores(path: str, *names: str) -> Probe:
    """A probe: a function assigns to an attribute of a name.

    Args:
        path: path of the function.
        names: the owner and the attribute. `"extra", "name"` stands for `extra.name = ...`.
    """

    def probe() -> None:
        code = getattr(_original(path), "__code__", None)
        if not isinstance(code, CodeType):
            return
        owner, name = names
        # One instruction of CPython 3.13 loads two variables. The last one is the owner.
        steps = [
            (one.opname, one.argval[-1] if isinstance(one.argval, tuple) else one.argval)
            for one in dis.get_instructions(code)
        ]
        if not any(
            before == owner and step == ("STORE_ATTR", name)
            for (_, before), step in pairwise(steps)
        ):
            raise Missing(f"{path.partition(':')[2]} assigns to no {owner}.{name}")

    return probe


def is_found(what: str, look: Callable[[], object]) -> Probe:
    """A probe: a function returns something that is true.

    Args:
        what: the message if it does not.
        look: the function.
    """

    def probe() -> None:
        if not look():
            raise Missing(what)

    return probe


def _original(path: str) -> Any:
    """The function at a path, without wrappers, `classmethod` and `staticmethod`.

    Returns:
        `None` if the function there is from another package and does not tell what it wraps: a
        tracing library's, for example. Then the contract holds, because nothing can be known.

    Raises:
        Missing: there is nothing at this path.
    """
    function = find(path)
    function = getattr(function, "__func__", function)
    if isinstance(function, property):
        function = function.fget
    function = inspect.unwrap(function)
    home, at = path.partition(":")[0], getattr(function, "__module__", None) or ""
    return function if at.partition(".")[0] == home.partition(".")[0] else None


def words_of(code: CodeType) -> Iterator[Any]:
    """The names and the constants in the code of a function and of the functions within it."""
    yield from code.co_names
    yield from code.co_varnames
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from words_of(constant)
        elif isinstance(constant, tuple):
            yield from constant  # the names of keyword arguments, and of a constant tuple
        else:
            yield constant
