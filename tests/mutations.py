"""Break the Reaper on purpose, one thing at a time, and see that the tests notice.

In the directory of the tests: `python -m mutations` (all of them, some minutes), or with names.
Each mutation is made in a copy of the project; the tests that it names must fail there.
`--control` runs the same tests in a copy that nothing is changed in: there they must pass.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
JOBS = 3
FAILED = 1
"""What pytest ends with where a test has failed; a usage error or no test at all is another."""


@dataclass(frozen=True)
class Mutation:
    """One thing that is broken.

    Attributes:
        name: what is left undone, or done wrongly.
        file: where.
        old: what stands there, once.
        new: what takes its place.
        tests: what pytest is asked to run, and has to find it with.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation(
        "no process arms the parent death signal",
        "worker/guard.py",
        "    if not signum:\n        return\n",
        "    return\n",
        "test_watchdog.py::test_it_dies_together_with_main",
    ),
    Mutation(
        "a forked worker does not check whether the main process is already dead",
        "worker/entry.py",
        "        os._exit(0)  # main died before the kernel was asked for a signal\n",
        "        pass\n",
        "test_watchdog.py::test_it_dies_together_with_main_before_a_worker_asks_for_a_signal",
    ),
    Mutation(
        "a spawned worker does not check whether the main process is already dead",
        "platform/linux.py",
        "    os.getppid() == %d or os._exit(0)\n",
        "    %d\n",
        "test_watchdog.py::test_it_dies_together_with_main_before_a_worker_asks_for_a_signal",
    ),
    Mutation(
        "the watchdog scans once, and not again",
        "watchdog/leftovers.py",
        "        if self.terminator.targets or self._members.all:\n            return\n",
        "        self.terminator.targets.clear()\n",
        "test_descendants.py",
    ),
    Mutation(
        "the scan at the main process's death is left out",
        "watchdog/watch.py",
        "        self.leftovers.remember(now)\n        self.members.terminate_all()",
        "        self.members.terminate_all()",
        "test_descendants.py test_matrix.py",
    ),
    Mutation(
        "the SyncManager is not registered",
        "main/helpers.py",
        "            (wire.HELPER, HELPER, services.managers()),\n",
        "",
        "test_helpers.py test_matrix.py",
    ),
    Mutation(
        "a process group is signalled instead of a process",
        "tree/process.py",
        "            platform.send(self.pid, self.fd, signum)\n",
        "            os.killpg(os.getpgid(self.pid), signum)\n",
        "test_bystanders.py::test_the_job_that_launched_it",
    ),
    Mutation(
        "deadlines use the wall clock",
        "watchdog/watch.py",
        "time.monotonic()",
        "time.time()",
        "test_stop.py test_matrix.py",
    ),
    Mutation(
        "a signal goes to whatever process has the pid",
        "tree/process.py",
        "        return row.start == self.start and row.alive\n",
        "        return row.alive\n",
        "unit/test_process.py test_bystanders.py",
    ),
    Mutation(
        "a child can be older than its parent",
        "tree/ownership.py",
        " if row.start >= parent.start]",
        "]",
        "unit/test_ownership.py",
    ),
    Mutation(
        "the marker counts in processes of any user",
        "tree/evidence.py",
        "        and platform.uid(row.pid) == uid\n",
        "",
        "test_bystanders.py::test_another_users_process_with_our_mark",
    ),
    Mutation(
        "the marker counts in processes older than the main process",
        "tree/evidence.py",
        "        row.start >= since\n        and ",
        "        ",
        "test_bystanders.py::test_somebody_who_was_there_before_and_bears_the_mark",
    ),
    Mutation(
        "the marker does not count",
        "tree/descendants.py",
        "self._is_marked if with_markers else _never,",
        "_never,",
        "test_descendants.py test_fallbacks.py test_sweep.py",
    ),
    Mutation(
        "a detached process is not spared",
        "tree/evidence.py",
        "    return row.alive and marked.is_detached(platform.environ(row.pid), run)\n",
        "    return False\n",
        "test_descendants.py::test_a_detached_child_outlives_the_server",
    ),
    Mutation(
        "earlier scans are forgotten",
        "tree/descendants.py",
        "classify(table, roots, self._last, ",
        "classify(table, roots, ownership.Classification(), ",
        "test_descendants.py::test_children_of_workers_that_die_together_with_main "
        "test_descendants.py::test_a_child_of_a_worker",
    ),
    Mutation(
        "the main process is no subreaper",
        "main/preflight.py",
        "        platform.become_subreaper()\n",
        "        pass\n",
        "test_descendants.py::test_orphans_that_main_adopts_leave_no_zombie "
        "test_descendants.py::test_a_child_of_a_worker",
    ),
    Mutation(
        "the main process reaps every zombie",
        "tree/descendants.py",
        "            row.identity in self._seen_elsewhere\n",
        "            True\n",
        "test_descendants.py::test_the_exit_code_of_mains_own_child_is_left_to_main",
    ),
    Mutation(
        "only SIGTERM is sent, and never SIGKILL",
        "tree/termination.py",
        '            self._signal(target, "WARNING", signal.SIGKILL)\n',
        "            pass\n",
        "test_descendants.py::test_a_child_of_a_worker",
    ),
    Mutation(
        "a stopped worker gets no SIGCONT",
        "watchdog/members.py",
        "        send_signal(member.handle, signal.SIGTERM, self._reporter)\n"
        "        send_signal(member.handle, signal.SIGCONT, self._reporter)\n",
        "        send_signal(member.handle, signal.SIGTERM, self._reporter)\n",
        "test_watchdog.py::test_all_of_them_are_stopped_and_main_is_killed test_matrix.py",
    ),
    Mutation(
        "the main process has no deadline",
        "watchdog/watch.py",
        "        if now >= self.progress.deadline and self.progress.main_lives:\n",
        "        if False:\n",
        "test_stop.py::test_main_that_hangs_in_its_own_stop_is_killed",
    ),
    Mutation(
        "a dead watchdog is not replaced",
        "main/watchdog_link.py",
        "        if not self._endpoint.alive() or now >= self._retry_at:\n",
        "        if now >= self._retry_at:\n",
        "test_watchdog.py::test_a_dead_one_is_replaced_and_the_new_one_knows_everything",
    ),
    Mutation(
        "nothing wakes a stopped watchdog",
        "main/watchdog_process.py",
        "            self._wake_at_our_end(its.fileno())\n",
        "",
        "test_watchdog.py::test_a_stopped_one_and_nobody_to_wake_it_up",
    ),
    Mutation(
        "the watchdog obeys SIGTERM",
        "watchdog/entry.py",
        "        signal.signal(signum, signal.SIG_IGN)\n",
        "        pass\n",
        "test_watchdog.py::test_it_is_deaf_to_what_stops_a_service",
    ),
    Mutation(
        "the watchdog is in the main process's group",
        "main/watchdog_process.py",
        "                start_new_session=True,\n",
        "",
        "test_watchdog.py::test_there_is_one_and_it_keeps_apart",
    ),
    Mutation(
        "the descendants of a dead worker are left",
        "watchdog/watch.py",
        "                self.leftovers.note_exit(identity)\n",
        "                pass\n",
        "test_descendants.py::test_what_a_dead_worker_has_started_is_ended_and_nothing_else",
    ),
    Mutation(
        "the descendants of other workers are killed too",
        "tree/descendants.py",
        "            and (of is None or self._last.owners.get(identity) in of)\n",
        "",
        "test_supervision.py::test_its_own_descendants_end_and_no_others",
    ),
    Mutation(
        "a worker starts with signals unblocked",
        "main/inheritance.py",
        "signal.pthread_sigmask(signal.SIG_BLOCK, ",
        "signal.pthread_sigmask(signal.SIG_BLOCK, set() and ",
        "test_matrix.py",
    ),
]


def mutated(mutation: Mutation) -> str:
    """The file as the mutation makes it.

    Raises:
        ValueError: what it would replace is not there, or not clearly.
    """
    text = (PROJECT / "sanic_reaper" / mutation.file).read_text()
    if mutation.old not in text or (text.count(mutation.old) > 1 and "\n" in mutation.old):
        raise ValueError(f"{mutation.name}: not to be found in {mutation.file}")
    return text.replace(mutation.old, mutation.new)


def is_noticed(mutation: Mutation, control: bool = False) -> tuple[bool, str]:
    """Whether the tests fail, and which was the first.

    Args:
        control: whether the mutation is not made.
    """
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        project = Path(directory) / "project"
        shutil.copytree(PROJECT, project, ignore=LEFT_OUT)
        if not control:
            (project / "sanic_reaper" / mutation.file).write_text(mutated(mutation))
        tests = [str(project / "tests" / test) for test in mutation.tests.split()]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(project)},
            capture_output=True,
            text=True,
            check=False,
        )
    failed = re.findall(r"^FAILED \S*?tests/(\S+)", done.stdout, re.M)
    if done.returncode not in (0, FAILED):
        raise RuntimeError(f"{mutation.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == FAILED, (failed or ["-"])[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mutations", description=__doc__)
    parser.add_argument("names", nargs="*", help="words of the mutations to make; default: all")
    parser.add_argument("--control", action="store_true", help="change nothing; nothing must fail")
    options = parser.parse_args()
    wanted = options.names
    chosen = [one for one in MUTATIONS if not wanted or any(word in one.name for word in wanted)]
    wrong = 0
    with ThreadPoolExecutor(JOBS) as pool:
        results = pool.map(lambda one: is_noticed(one, options.control), chosen)
        for mutation, (noticed, by) in zip(chosen, results, strict=True):
            wrong += noticed == options.control
            print(f"| {mutation.name} | `{by}` |" if noticed else f"nothing fails: {mutation.name}")
            sys.stdout.flush()
    print(f"{len(chosen)} mutations, {wrong} {'made up' if options.control else 'missed'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
