"""The report of a run as data: what `sanic-reaper report --json` prints. See docs/commands.md."""

from __future__ import annotations

from .process import Process, fate
from .run_report import ReportEvent, RunReport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def record(report: RunReport) -> dict[str, Any]:
    """Moments are seconds since the epoch, durations seconds; what is not known is None."""

    def at(moment: float | None) -> float | None:
        return None if moment is None else round(report.wall(moment), 3)

    return {
        "server": {
            "app": report.app,
            "run": report.run,
            "pid": report.pid,
            "uid": report.uid,
            "directory": report.directory,
            "start_method": report.method,
            "address": report.address,
            "host": report.host,
            "versions": report.versions,
            "workers_wanted": report.wanted,
            "workers_killed": report.workers_killed,
            "workers_died": report.workers_died,
            "outcome": report.outcome,
            "exit_code": report.code,
            "reason": report.words,
            "is_stuck": report.is_stuck,
            "began": at(report.began),
            "serving_at": at(report.served),
            "stop_at": at(report.stop),
            "ended_at": at(report.over),
            "main_died_at": at(report.died),
            "nothing_left_at": at(report.gone if report.died is not None else report.over),
            "up_seconds": round(report.seconds, 3),
            "stop_seconds": _rounded(report.seconds_of_stop),
        },
        "processes": [_process(one, at) for one in report.processes],
        "events": [_event(one, at) for one in report.events],
        "watchdog": [
            {"time": at(one.time), "level": one.level, "text": one.words} for one in report.log
        ],
        "counters": dict(report.counters),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _process(process: Process, at: Callable[[float | None], float | None]) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "role": process.role,
        "name": process.name,
        "state": process.state,
        "in_place_of": process.before.pid if process.before is not None else None,
        "began": at(process.began),
        "imported_at": at(process.imported),
        "up_at": at(process.up),
        "ready_at": at(process.ready),
        "told_to_stop_at": at(process.asked),
        "ended_at": at(process.ended),
        "exit_code": process.exit_code,
        "killed_by": process.killer or None,
        "killed_for": process.killed or None,
        "failure": process.failure or None,
        "end": fate(process) or None,
        "requests": process.requests,
        "stood_still_seconds": _rounded(process.stood_still),
        "lost": process.lost,
        "standstills": [{"began": at(a), "ended": at(b)} for a, b in process.standstills],
        "handlers": [
            {
                "name": one.name,
                "place": one.place or None,
                "began": at(one.began),
                "ended": at(one.ended),
                "is_background": one.is_beside,
                "has_failed": one.has_failed,
            }
            for one in process.handlers
        ],
    }


def _event(one: ReportEvent, at: Callable[[float | None], float | None]) -> dict[str, Any]:
    return {
        "time": at(one.time),
        "name": one.name,
        "process": one.process,
        "pid": one.pid,
        "cause": one.cause or None,
        "reason": one.words or None,
        "exit_code": one.exit_code,
        "seconds": _rounded(one.seconds),
    }
