"""Defines a contract, probes contracts, and decides what follows from those that do not hold.

A contract is one use of something that is not public: in Sanic, sanic-ext, `multiprocessing`,
asyncio or CPython. The main process probes each contract before it starts anything. The table is
`table.CONTRACTS`. A worker never loads this module.

If a *nice* contract does not hold, one warning says so, and a single feature is off. If a *vital*
one does not hold, workers are not supervised: Sanic's own manager runs them. The parts that need no
internals still guard the server (the watchdog, the parent death signal, `sanic-reaper sweep`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

CHECKED = {"sanic": (25, 12), "sanic_ext": (25, 12)}
"""The newest versions that this release was checked with, by module: (major, minor)."""


class Missing(Exception):
    """A probe did not find what it looked for. The message names it."""


Probe: TypeAlias = "Callable[[], object]"
"""A function that raises `Missing`, or any other exception, if the contract does not hold."""


class Contract(NamedTuple):
    """One use of something that is not public."""

    name: str
    """Its name in the log and in the table of docs/compat.md."""
    relies_on: str
    """What the package relies on, as one sentence."""
    probes: Sequence[Probe]
    """The contract holds if no probe raises an exception."""
    lost: str
    """What does not work if the contract does not hold. Follows the words "Without it"."""
    is_vital: bool = False
    """Whether the supervision of workers depends on the contract."""
    seen: str = "24.12 to 25.12"
    """The versions in which the contract was seen to hold."""


class Broken(NamedTuple):
    """A contract that does not hold."""

    contract: Contract
    why: str
    """What is missing, for the log."""


class Decision(NamedTuple):
    """What follows from the contracts that do not hold."""

    lines: list[tuple[str, str]]
    """Lines for the log: name of the level, and text."""
    off: frozenset[str]
    """Names of the nice contracts that do not hold. Their features are off."""
    guards_only: bool
    """Whether Sanic's own manager runs the workers, and the Reaper only guards the server."""


NOT_OURS = (
    "Sanic has not created the Reaper's manager: Sanic runs the workers by itself, without "
    "start-up limit, respawn and recycling. The watchdog, the parent death signal and "
    "sanic-reaper sweep still guard this server"
)
"""The line for a server whose contracts hold, but whose workers Sanic's own manager runs."""

GUARDS = "The watchdog, the parent death signal and sanic-reaper sweep still guard this server"


def decide(broken: Iterable[Broken], newer: Sequence[str] = ()) -> Decision:
    """Decide what is logged, what is off, and how far the server is supervised. Pure.

    All broken contracts share one line, because one renamed thing can break several of them.

    Args:
        broken: the contracts that do not hold.
        newer: the packages that are newer than what was checked, from `newer_than_checked`.
    """
    nice: list[Broken] = []
    vital: list[Broken] = []
    for one in broken:
        (vital if one.contract.is_vital else nice).append(one)
    explained = {why for _, why in vital}
    lost = [
        f"{one.name}: {why}. Without it {one.lost}" for one, why in nice if why not in explained
    ]
    lines = []
    if newer:
        lines.append(
            ("WARNING", f"{' and '.join(newer)}: this release was checked with {_checked()}")
        )
    if vital:
        lines.insert(0, ("ERROR", " ".join([_cannot_supervise(vital), *lost])))
    elif lost:
        lines.append(("WARNING", " ".join(lost)))
    return Decision(lines, frozenset(one.name for one, _ in nice), bool(vital))


def _checked() -> str:
    return " and ".join(f"{_TITLES[name]} {'.'.join(map(str, CHECKED[name]))}" for name in CHECKED)


def _cannot_supervise(vital: Iterable[Broken]) -> str:
    missing = "; ".join(f"{contract.name}: {why}" for contract, why in vital)
    return (
        "the Reaper cannot supervise the workers of this server: Sanic runs them by itself, "
        f"without start-up limit, respawn and recycling ({missing}). {GUARDS}."
    )


def broken_of(contracts: Iterable[Contract]) -> Iterator[Broken]:
    """Probe contracts, and yield those that do not hold."""
    for contract in contracts:
        try:
            for probe in contract.probes:
                probe()
        except Missing as missing:
            yield Broken(contract, str(missing))
        except Exception as error:
            yield Broken(contract, f"cannot be probed: {error!r}")


def examine() -> Decision:
    """Probe all contracts of this installation, and decide what follows."""
    global _decision
    from .table import CONTRACTS  # not above: that module imports this one

    _reported.clear()
    _decision = decide(broken_of(CONTRACTS), newer_than_checked(installed()))
    return _decision


_decision = Decision([], frozenset(), False)
"""The latest result of `examine` in this process."""

_reported: set[str] = set()
"""Names of the contracts for which `line_for_unused` has returned a line."""


def line_for_unused(name: str) -> str | None:
    """The line for a contract that holds, but that Sanic has not used in a worker.

    Args:
        name: name of the contract, from the worker's report.

    Returns:
        A line for the log. `None` if the log has a line about this contract already, or if there is
        no such contract.
    """
    from .table import CONTRACTS

    lost = next((one.lost for one in CONTRACTS if one.name == name), None)
    if lost is None or name in _decision.off or name in _reported:
        return None
    _reported.add(name)
    return f"{name}: Sanic has not called the Reaper in a worker. Without that {lost}"


def newer_than_checked(versions: dict[str, str]) -> list[str]:
    """The packages that are newer than `CHECKED`, each as a clause for the log.

    Args:
        versions: versions by the name of the module. A version that is not a number is skipped.
    """
    found = []
    for name, version in versions.items():
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if len(numbers) == 2 and numbers > CHECKED[name]:
            found.append(f"{_TITLES[name]} {version} is newer than what was checked")
    return found


_TITLES = {"sanic": "Sanic", "sanic_ext": "sanic-ext"}


def installed() -> dict[str, str]:
    """The versions of the modules in `CHECKED`. Empty if a module has no `__version__`."""
    modules = {name: importlib.import_module(name) for name in CHECKED}
    return {name: str(getattr(one, "__version__", "")) for name, one in modules.items()}
