"""A program that is still importing what it needs, before it makes an app."""

import importlib
import os
import time

from events import emit

if os.environ["IMPORTING"]:
    importlib.import_module(os.environ["IMPORTING"])
emit("imported")
time.sleep(600)
