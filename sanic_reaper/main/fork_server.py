"""Makes the fork server deaf to SIGTERM while main lives, and lets it hear of its children.

The fork server preloads this module.

A service manager sends SIGTERM to every process of a service at once. A fork server that dies of it
takes its children with it as far as main can see: `multiprocessing` reads a child's exit code
through the fork server, so main would take a living SyncManager for a dead one.

Assumes that it is imported by the fork server itself, before it forks anything. Guarantees that
its children handle SIGTERM as if this module were not there: a handler, unlike SIG_IGN and unlike a
blocked signal, is taken off again in each of them before they do anything else.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_pid = os.getpid()
_main = os.getppid()


def _hear(signum: int, frame: FrameType | None) -> None:
    """Exit on SIGTERM once main is gone: the watchdog sends it then."""
    if os.getppid() != _main:
        os._exit(0)


def _block() -> None:
    """Keep a SIGTERM for a child that is just being forked until the child can hear it.

    A signal that arrives while the handler is still this one is noted down by Python, and dropped
    when the handler has changed before Python comes to call it.
    """
    # What a child forks later runs these hooks as well, and may have a handler of its own by then.
    if os.getpid() == _pid:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _unblock() -> None:
    if os.getpid() == _pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _restore() -> None:
    if os.getppid() == _pid:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


signal.signal(signal.SIGTERM, _hear)
# The fork server learns of its children's ends by SIGCHLD, which a launcher may have blocked.
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_restore)
