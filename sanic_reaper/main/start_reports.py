"""Words for a worker whose start is slow or late: what runs, where exactly, and what to do.

A stack is given as frames, innermost first. `how` is how the worker sits in them: `BLOCKING`,
`AWAITING` or `BESIDE` of `worker.explanations`, perhaps with more words.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..model.stacks import frames_of, other_threads
from ..worker.explanations import AWAITING, BESIDE, BLOCKING, Frame, advice, is_ours, report
from .start_step import StartStep


def slow(title: str, step: StartStep, frames: list[Frame], how: str) -> str:
    """The report of a start handler that is slow, with its stack.

    Args:
        title: what the log calls the worker.
    """
    seconds = time.monotonic() - step.began
    what = f"{title} is slow to start: {step.place.name} still runs"
    text = report(what, step.place, seconds, how, frames, advice(step.event))
    return "\n".join([text, *stack_of(frames)])


def late_unasked(limit: float | None, imports: bool) -> str:
    """Why a worker is killed that can't be asked for its stack. `faulthandler` has printed it.

    Args:
        limit: the limit of the start in seconds.
        imports: whether the worker still imports the app.
    """
    where = ", and has not even imported the app" if imports else ""
    return f"it has not started within {_setting(limit)}{where}; its stack is above"


def handler_overdue(step: StartStep, frames: list[Frame], how: str) -> str:
    """Why a worker is killed whose start handler has exceeded a limit of its own."""
    what = (
        f"its {step.event} handler {step.place.name} took longer than {step.limit:g} s, and "
        "StartupTimeout did not end it"
    )
    remedy = f"a larger limit ({step.source}); or {advice(step.event)}"
    return report(what, step.place, time.monotonic() - step.began, how, frames, remedy)


def start_overdue(
    step: StartStep | None, limit: float | None, listens: bool, frames: list[Frame], how: str
) -> str:
    """Why a worker is killed whose start as a whole has taken too long.

    Args:
        step: what has been running for longest.
        limit: the limit of the start in seconds.
        listens: whether the worker listens already.
    """
    begun = "it listens, but has not finished its start" if listens else "it has not started"
    event = step.event if step is not None else ""
    remedy = f"a larger limit ({_setting(limit)}); or {advice(event)}"
    place = step.place if step is not None else None
    seconds = time.monotonic() - step.began if step is not None else 0.0
    return report(f"{begun} within {_setting(limit)}", place, seconds, how, frames, remedy)


def work_overdue(step: StartStep, frames: list[Frame], how: str, stack: str) -> str:
    """Why a worker is killed whose background work has exceeded its limit.

    Args:
        stack: the stacks of all threads, as `faulthandler` writes them.
    """
    what = (
        f"its background work {step.place.name} took longer than {step.limit:g} s, and could not "
        "be ended from inside"
    )
    own = frames_of(stack, step.thread) if step.thread else []
    if own:  # the main thread blocks nothing: it waits for the GIL, or for requests
        how = BESIDE + how.removeprefix(BLOCKING).removeprefix(AWAITING)
    seconds, remedy = time.monotonic() - step.began, f"a larger limit ({step.source})"
    return report(what, step.place, seconds, how, own or frames, remedy)


def with_threads(text: str, frames: list[Frame], stack: str) -> str:
    """A report of a worker that will be killed, followed by the stacks of all its threads."""
    return "\n".join([text, *stack_of(frames), *other_threads(stack)])


def stack_of(frames: Sequence[Frame]) -> list[str]:
    """The lines of a stack, down to the Reaper's own call of the handler.

    Below that call are Sanic's frames, which tell the user nothing.
    """
    ours = next((at for at, frame in enumerate(frames) if is_ours(frame[0])), len(frames))
    shown = [frame for frame in frames[:ours] if frame[2] != "_listener"] or frames
    return [f'  File "{file}", line {line} in {name}' for file, line, name in shown]


def _setting(limit: float | None) -> str:
    return f"REAPER_STARTUP_TIMEOUT = {limit or 0:g} s"
