"""A main with a watchdog and nothing else: `python registrar.py WORD PID START ...`.

It tells its watchdog of a process, as a server's main does, with whatever creation time it is told.
"""

from __future__ import annotations

import os
import sys
import time

from events import emit, start_of

from sanic_reaper.main.watchdog_process import WatchdogProcess

watchdog = WatchdogProcess((os.getpid(), start_of("self")), os.urandom(8).hex(), orphan_grace=0.5)
word, pid, start, *rest = sys.argv[1:]
watchdog.send(word, int(pid), int(start), *rest)
watchdog.confirm()
emit("registered")
time.sleep(600)
