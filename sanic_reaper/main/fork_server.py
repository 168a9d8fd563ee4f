"""Makes the fork server ignore SIGTERM while main lives, and lets it receive SIGCHLD.

The fork server preloads this module.

A service manager sends SIGTERM to every process of a service at once. `multiprocessing` reads the
exit code of a child through the fork server. If the fork server died of SIGTERM, main would take a
living SyncManager for a dead one.

Assumes that it is imported by the fork server itself, before it forks anything. Guarantees that
its children handle SIGTERM as if this module did not exist: each of them removes the handler before
it does anything else. (SIG_IGN and a blocked signal were rejected: they would be inherited.)
"""

from __future__ import annotations

import os
import signal
from types import FrameType

_pid = os.getpid()
_main = os.getppid()


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    """Exit on SIGTERM once main has died. The watchdog sends it then."""
    if os.getppid() != _main:
        os._exit(0)


def _block() -> None:
    """Hold a SIGTERM back for a child that is being forked, until the child can handle it.

    Python notes a signal that arrives while `_on_sigterm` is installed, and drops it if the handler
    has changed before Python calls it.
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


signal.signal(signal.SIGTERM, _on_sigterm)
# The fork server notices the exit of its children by SIGCHLD, which a launcher may have blocked.
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_restore)
