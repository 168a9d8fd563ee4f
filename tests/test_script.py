"""What a script does before, beside and after its server is the script's own business."""

from __future__ import annotations

import sys

from support.marks import methods
from support.server import SUPERVISED, Server, Subject


def run_script(launch, mode: str, subject: Subject = SUPERVISED, **options) -> Server:
    return launch(subject, argv=[sys.executable, "script.py", mode], **options)


# -- what others see of the marks -----------------------------------------------------------------


@methods
def test_no_app_takes_a_mark_for_a_setting(launch, method):
    """Sanic makes a key of each `SANIC_*` variable, and sanic-ext a constant of each key."""
    server = run_script(launch, "later apps", SUPERVISED.with_(method=method))
    said = {event.more["where"]: event.more["keys"] for event in server.wait_for("settings", 2)}
    assert said == {"main": [], "worker": []}
    assert server.stop() == 0
