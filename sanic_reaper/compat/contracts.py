"""What a contract is, how it is probed, and what follows from those that do not hold.

A contract is one touch of something that is not public: in Sanic, sanic-ext, `multiprocessing`,
asyncio or CPython. The main process probes each contract before it starts anything. The table is
`table.CONTRACTS`. A worker never loads this module.

A *nice* contract that does not hold costs one warning, and the feature that needs it. A *vital* one
costs the supervision of workers: Sanic's own manager runs them, and what needs no internals guards
the server (the watchdog, the kernel's parent death signal, `sanic-reaper sweep`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

CHECKED = {"sanic": (25, 12), "sanic_ext": (25, 12)}
"""The newest releases that this one was checked with, by module."""


class Missing(Exception):
    """A probe did not find what it looked for. The text names it."""


Probe: TypeAlias = "Callable[[], object]"
"""Looks for something. Raises `Missing`, or any other exception, if it does not hold."""


class Contract(NamedTuple):
    """One touch of something that is not public."""

    name: str
    """What it is called in the log and in the table of docs/compat.md."""
    relies_on: str
    """One sentence: what the package relies on."""
    probes: Sequence[Probe]
    """What the main process looks for. The contract holds if each probe finds it."""
    lost: str
    """What does not work if the contract does not hold."""
    is_vital: bool = False
    """Whether workers cannot be supervised without it."""
    seen: str = "24.12 to 25.12"
    """The versions that it was seen in."""


class Broken(NamedTuple):
    """A contract that does not hold."""

    contract: Contract
    why: str
    """What is missing."""


class Decision(NamedTuple):
    """What follows from the contracts that do not hold."""

    lines: list[tuple[str, str]]
    """Lines for the log: the level, the text."""
    off: frozenset[str]
    """The names of the nice contracts that do not hold: their features are off."""
    guards_only: bool
    """Whether Sanic's own manager runs the workers, and the Reaper guards the server only."""


NOT_OURS = (
    "Sanic has not made the Reaper's manager: Sanic runs the workers by itself, without start-up "
    "limit, respawn and recycling. All the same the watchdog, the parent death signal and "
    "sanic-reaper sweep guard this server"
)
"""For a server in which the contracts hold, and what they are for has not happened."""

GUARDS = "the watchdog, the parent death signal and sanic-reaper sweep guard it"


def decide(broken: Iterable[Broken], newer: Sequence[str] = ()) -> Decision:
    """Decide what is logged, what is off, and how far the server is supervised. Pure.

    All that is broken is one line: one thing with another name can break several contracts.

    Args:
        broken: the contracts that do not hold.
        newer: the packages that are newer than what was checked, as `newer_than_checked` says.
    """
    nice: list[Broken] = []
    vital: list[Broken] = []
    for one in broken:
        (vital if one.contract.is_vital else nice).append(one)
    told = {why for _, why in vital}
    lost = [f"{one.name}: {why}. Without it {one.lost}" for one, why in nice if why not in told]
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
        "the Reaper cannot supervise the workers of this server, which Sanic runs by itself: no "
        f"start-up limit, no respawn, no recycling ({missing}). All the same {GUARDS}."
    )


def broken_of(contracts: Iterable[Contract]) -> Iterator[Broken]:
    """Probe contracts. Yields those that do not hold, and why."""
    for contract in contracts:
        try:
            for probe in contract.probes:
                probe()
        except Missing as missing:
            yield Broken(contract, str(missing))
        except Exception as error:
            yield Broken(contract, f"cannot be probed: {error!r}")


def examine() -> Decision:
    """Probe all contracts of this installation, and decide."""
    global _decision
    from .table import CONTRACTS  # it knows this module

    _told.clear()
    _decision = decide(broken_of(CONTRACTS), newer_than_checked(installed()))
    return _decision


_decision = Decision([], frozenset(), False)
"""The one that holds in this process."""

_told: set[str] = set()
"""The contracts of which a line has said that they were not kept."""


def not_kept(name: str) -> str | None:
    """What a worker's report says, that a contract holds and that what it is for did not happen.

    Args:
        name: of the contract.

    Returns:
        A line for the log. `None` where the log has been told of that contract.
    """
    from .table import CONTRACTS

    lost = next((one.lost for one in CONTRACTS if one.name == name), None)
    if lost is None or name in _decision.off or name in _told:
        return None
    _told.add(name)
    return f"{name}: Sanic has not called the Reaper in a worker. So {lost}"


def newer_than_checked(versions: dict[str, str]) -> list[str]:
    """The packages that are newer than `CHECKED`, with their versions.

    Args:
        versions: by the name of the module. One that is no number is left out.
    """
    found = []
    for name, version in versions.items():
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if len(numbers) == 2 and numbers > CHECKED[name]:
            found.append(f"{_TITLES[name]} {version} is newer than what was checked")
    return found


_TITLES = {"sanic": "Sanic", "sanic_ext": "sanic-ext"}


def installed() -> dict[str, str]:
    """The versions of the modules in `CHECKED`, as far as they tell them."""
    modules = {name: importlib.import_module(name) for name in CHECKED}
    return {name: str(getattr(one, "__version__", "")) for name, one in modules.items()}
