"""`python app.py`, `sanic app:app`, `python -m sanic app:app`."""

import os

from subject import SUBJECT, build, note_import

from sanic_reaper import Reaper


class Shared:
    """Something that a worker may put into the state that it shares with the others."""


note_import()
app = build()

if __name__ == "__main__":
    if SUBJECT["reaper"] == "in main alone":
        app.extend(extensions=[Reaper])
    app.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        workers=SUBJECT["workers"],
        access_log=False,
        motd=False,
        **SUBJECT["run"],
    )
