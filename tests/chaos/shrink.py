"""Make a history that breaks an invariant as small as it gets, and write it down as a program.

Hypothesis would draw and shrink too, but takes a test for a function of its data: here the same
history may pass once and fail once, and each example costs seconds. So each candidate is tried a
few times, and only what matters for a reader is made smaller.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from .history import History, Step

PLAINEST = History()


def shrink(history: History, fails: Callable[[History], bool], seconds: float) -> History:
    """The smallest history that still fails, as far as one gets within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        for candidate in _smaller(history):
            if time.monotonic() > deadline:
                return history
            if fails(candidate):
                history = candidate
                break
        else:
            return history


def _smaller(history: History) -> Iterator[History]:
    """Histories with one thing less, the greatest first."""
    if history.steps:
        yield dataclasses.replace(history, steps=())
    for number in range(len(history.steps)):
        rest = (*history.steps[:number], *history.steps[number + 1 :])
        yield dataclasses.replace(history, steps=rest)
    for name in ("second", "burning", "ordinary_user", "small_disk"):
        if getattr(history, name):
            yield dataclasses.replace(history, **{name: getattr(PLAINEST, name)})
    subject = history.subject
    for name, plain in _defaults(subject):
        if name not in ("config", "method", "reaper") and getattr(subject, name) != plain:
            yield dataclasses.replace(history, subject=subject.with_(**{name: plain}))
    for key in subject.config:
        if key not in PLAINEST.subject.config:
            config = {k: v for k, v in subject.config.items() if k != key}
            yield dataclasses.replace(history, subject=subject.with_(config=config))
    for number, step in enumerate(history.steps):
        if step.after:
            steps = list(history.steps)
            steps[number] = dataclasses.replace(step, after=0.0)
            yield dataclasses.replace(history, steps=tuple(steps))


def source(history: History) -> str:
    """A program that lets it happen again."""
    subject = history.subject
    words = [f"{name}={getattr(subject, name)!r}" for name, _ in _changed(subject)]
    lines = [f"    subject=Subject({', '.join(words)}),"]
    for name, _ in _changed(history):
        value = getattr(history, name)
        if name == "steps":
            lines.append("    steps=(")
            lines.extend(f"        {_step(step)}," for step in value)
            lines.append("    ),")
        elif name == "end":
            lines.append(f"    end={_step(value)},")
        elif name != "subject":
            lines.append(f"    {name}={value!r},")
    return _PROGRAM.format("\n".join(lines))


_PROGRAM = """\
# python - < this, in the directory of the tests
from chaos.history import History, Step
from chaos.play import play
from support.http import Ports
from support.server import Subject

history = History(
{}
)
if __name__ == "__main__":
    outcome = play(history, Ports())
    print(outcome.log, *outcome.violations or ["nothing is left"], sep="\\n")
"""


def _step(step: Step) -> str:
    return f"Step({', '.join(repr(value) for value in dataclasses.astuple(step) if value != '')})"


def _changed(one: Any) -> Iterator[tuple[str, Any]]:
    return ((name, plain) for name, plain in _defaults(one) if getattr(one, name) != plain)


def _defaults(one: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(one):
        if field.default_factory is not dataclasses.MISSING:
            yield field.name, field.default_factory()
        else:
            yield field.name, field.default
