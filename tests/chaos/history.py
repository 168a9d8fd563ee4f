"""What may happen to a server, drawn by chance: one seed, one history, always the same."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.server import LIMITS, STARTUP_TIMEOUT, SUPERVISED, Subject

STAGES = {
    "launched": 2,
    "main_process_start": 2,
    "importing": 2,
    "holding": 6,
    "served": 3,
    "serving": 9,
}
"""How far the server is allowed to come before the first step, and how often."""


@dataclass(frozen=True)
class Step:
    """One thing that happens.

    Attributes:
        after: seconds since the step before.
        verb: `signal`, `request`, `recycle pid`, `limit`, `fill disk`, `free disk`, `save`.
        target: who is hit, or the path that is asked for.
        value: which signal, or how much of which resource.
    """

    after: float
    verb: str
    target: str = ""
    value: str = ""


@dataclass(frozen=True)
class History:
    """A server, where it stands, and what is done to it.

    Attributes:
        until: the stage that is waited for before the first step.
        end: the signal, and to whom, that ends what the steps have left of the server.
        second: whether another server of the same app runs beside it.
        ordinary_user: whether the server has a user of its own, whom `RLIMIT_NPROC` binds.
        small_disk: whether the directories for files that nobody keeps can be filled up.
        burning: how many processes take the machine's cores from it.
    """

    seed: int = 0
    subject: Subject = field(default_factory=lambda: SUPERVISED)
    until: str = "serving"
    steps: Sequence[Step] = ()
    end: Step = Step(0.0, "signal", "main", "SIGTERM")
    second: bool = False
    ordinary_user: bool = False
    small_disk: bool = False
    burning: int = 0


STARTS = {
    "": 16,
    "async:0.3": 3,
    "block:0.3": 3,
    "block": 2,
    "async": 2,
    "hold_gil": 2,
    "spin": 1,
    "swallow": 1,
    "async-swallow": 1,
    "deaf": 2,
    "mask": 1,
    "raise": 1,
    "raise-once": 2,
    "sys.exit": 1,
    "os._exit": 1,
    "block-cleanup": 1,
    "async-thread": 1,
}
"""What a worker's start may do (`subjects/subject.py`), and how often, in parts of the sum."""

HARMLESS = {"", "async:0.3", "block:0.3", "async:0.5", "block:0.5"}
"""What ends by itself, soon."""

STOPS = {"": 12, "async:0.3": 3, "block:0.3": 2, "block": 1, "deaf": 1, "raise": 1, "hold_gil": 1}
REQUESTS = {
    "/do/async:0.5": 4,
    "/do/async": 1,
    "/do/block:0.5": 3,
    "/do/block": 2,
    "/do/hold_gil": 2,
    "/do/spin": 1,
    "/do/swallow": 1,
    "/do/deaf": 1,
    "/do/os._exit": 2,
    "/do/sys.exit": 1,
    "/do/raise": 1,
    "/restart": 3,
    "/restart-without-downtime": 3,
    "/scale/1": 2,
    "/scale/2": 1,
    "/scale/4": 2,
    "/terminate": 1,
}
CHILDREN = {
    "plain": 4,
    "setsid": 3,
    "daemon": 3,
    "cleaned": 2,
    "cleaned-daemon": 2,
    "deaf": 2,
    "stopped": 1,
    "forked": 2,
    "process": 2,
    "pool": 2,
    "brief-daemon": 2,
    "awaited": 1,
    "detached": 2,
    "detached-daemon": 1,
}
TARGETS = {
    "main": 6,
    "group": 3,
    "worker": 6,
    "any worker's child": 2,
    "SyncManager": 2,
    "resource tracker": 1,
    "fork server": 1,
    "watchdog": 4,
    "helper": 2,
}
SIGNALS = {
    "SIGTERM": 5,
    "SIGINT": 4,
    "SIGHUP": 2,
    "SIGQUIT": 2,
    "SIGKILL": 5,
    "SIGSTOP": 3,
    "SIGCONT": 2,
    "SIGABRT": 1,
}
VERBS = {
    "signal": 12,
    "request": 8,
    "start child": 4,
    "recycle pid": 1,
    "limit": 2,
    "fill disk": 1,
    "save": 1,
}
ENDS = {
    ("main", "SIGTERM"): 4,
    ("main", "SIGINT"): 2,
    ("main", "SIGHUP"): 1,
    ("main", "SIGQUIT"): 1,
    ("main", "SIGKILL"): 6,
    ("main", "SIGABRT"): 1,
    ("group", "SIGINT"): 2,
    ("group", "SIGKILL"): 1,
}


def draw(seed: int) -> History:
    """The history of a seed."""
    dice = random.Random(seed)
    method = _pick(dice, {"fork": 5, "spawn": 3, "forkserver": 2})
    subject = _subject(dice, method)
    number = _pick(dice, {0: 1, 1: 3, 2: 4, 3: 4, 5: 3, 8: 2})
    steps = [_step(dice, subject) for _ in range(number)]
    if any(step.verb == "fill disk" for step in steps) and dice.random() < 0.5:
        steps.append(Step(_pause(dice), "free disk"))
    target, signum = _pick(dice, ENDS)
    return History(
        seed=seed,
        subject=subject,
        until=_stage(dice, subject),
        steps=tuple(steps),
        end=Step(_pause(dice), "signal", target, signum),
        second=dice.random() < 0.1,
        ordinary_user=any(step.value.startswith("NPROC") for step in steps),
        small_disk=any(step.verb == "fill disk" for step in steps),
        burning=_pick(dice, {0: 18, 2: 1, 4: 1}),
    )


def _subject(dice: random.Random, method: str) -> Subject:
    config: dict[str, Any] = {
        **LIMITS,
        "USE_UVLOOP": dice.random() < 0.5,
    }
    for key, values in _KEYS.items():
        if dice.random() < 0.2:
            config[key] = dice.choice(values)
    for key in ("INSPECTOR", "HEALTH_MONITOR", "LOGGING"):
        if dice.random() < 0.15:
            config[key] = True
    if "HEALTH_MONITOR" in config:
        config["HEALTH"] = True
    listeners = {"before_server_start": _pick(dice, STARTS)}
    for event in ("before_server_stop", "main_process_stop", "main_process_start"):
        if dice.random() < 0.15:
            listeners[event] = _pick(dice, STOPS if event.startswith("before") else _BRIEF)
    subject = SUPERVISED.with_(
        method=method,
        workers=_pick(dice, {1: 4, 2: 6, 3: 2, 4: 1, 8: 1}),
        importing="" if method == "fork" else _pick(dice, {"": 6, "block:0.5": 2, "block": 1}),
        successor=_pick(dice, {"": 8, "block": 1, "raise": 1, "async:0.3": 1}),
        listeners={event: action for event, action in listeners.items() if action},
        children=_several(dice, CHILDREN),
        main_children=_several(dice, _MAIN_CHILDREN),
        children_first=dice.random() < 0.3,
        manage=dice.random() < 0.15,
        dies=_pick(dice, {"": 8, "exit": 1, "segfault": 1}),
        config=config,
        run={"auto_reload": True, "reload_dir": "watched"} if dice.random() < 0.12 else {},
    )
    start = subject.listeners.get("before_server_start", "")
    if {subject.importing, subject.successor, start} <= HARMLESS:
        return subject  # what a busy machine makes of its start is not this history's doing
    return subject.with_config(REAPER_STARTUP_TIMEOUT=STARTUP_TIMEOUT)


def _stage(dice: random.Random, subject: Subject) -> str:
    """One that this server comes to."""
    start = subject.listeners.get("before_server_start", "").partition(":")
    never = set()
    if subject.method == "fork":
        never.add("importing")  # a worker has what main has
    if start[0] in ("", "raise", "raise-once", "sys.exit", "os._exit"):
        never.add("holding")
    if (start[0] not in ("", "raise-once") and not start[2]) or "block" in subject.importing:
        never |= {"served", "serving"}
    return str(_pick(dice, {stage: n for stage, n in STAGES.items() if stage not in never}))


_KEYS: Mapping[str, Sequence[Any]] = {
    "REAPER_HEARTBEAT_TIMEOUT": (1.0,),
    "REAPER_BLOCKED_WARNING": (0.5,),
    "REAPER_MAX_REQUESTS": (5,),
    "REAPER_MAX_LIFETIME": (2.0,),
    "REAPER_STARTUP_RETRIES": (1,),
    "REAPER_RESPAWN": (False,),
    "REAPER_RESPAWN_LIMIT": (0, 1),
    "REAPER_PDEATHSIG": ("SIGKILL",),
    "REAPER_HANDLER_TIMEOUT": (0.2, 1.0),
    "REAPER_SLOW_HANDLER": (0.2,),
}
_BRIEF = {"": 4, "async:0.3": 2, "block:0.5": 2}
_MAIN_CHILDREN = {"plain": 2, "setsid": 1, "daemon": 2, "cleaned-daemon": 1, "deaf": 1}


def _step(dice: random.Random, subject: Subject) -> Step:
    verb, after = _pick(dice, VERBS), _pause(dice)
    if verb == "signal":
        return Step(after, verb, _target(dice, subject), _pick(dice, SIGNALS))
    if verb == "request":
        return Step(after, verb, _pick(dice, REQUESTS))
    if verb == "start child":
        return Step(after, "request", f"/start/{_pick(dice, CHILDREN)}")
    if verb == "recycle pid":
        return Step(after, verb, _pick(dice, {"worker": 3, "any worker's child": 2, "helper": 1}))
    if verb == "limit":
        what = _pick(dice, {"NOFILE": 3, "NPROC": 1})
        whom = "main" if what == "NPROC" else _pick(dice, {"main": 3, "watchdog": 2, "worker": 1})
        # More than what it has at that moment.
        return Step(after, verb, whom, f"{what} {dice.choice((0, 1, 3, 10))}")
    return Step(after, verb)


def _target(dice: random.Random, subject: Subject) -> str:
    kind = _pick(dice, TARGETS)
    return f"worker {dice.randrange(subject.workers)}" if kind == "worker" else kind


def _several(dice: random.Random, kinds: Mapping[str, int]) -> tuple[str, ...]:
    number = _pick(dice, {0: 6, 1: 3, 2: 2})
    return tuple(_pick(dice, kinds) for _ in range(number))


def _pause(dice: random.Random) -> float:
    """Mostly short: what is interesting happens when things coincide."""
    return round(
        dice.choice((0.0, 0.0, dice.random() * 0.05, dice.random() * 0.5, dice.random())), 3
    )


def _pick(dice: random.Random, weights: Mapping[Any, int]) -> Any:
    return dice.choices(list(weights), list(weights.values()))[0]
