"""It has the command line of a server, and is none."""

import time

time.sleep(900)
