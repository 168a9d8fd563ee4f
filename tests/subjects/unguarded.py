"""`python unguarded.py`: `app.run` without `if __name__ == "__main__":`."""

import os

from subject import SUBJECT, build

app = build()
app.run(host="127.0.0.1", port=int(os.environ["PORT"]), workers=SUBJECT["workers"], motd=False)
