"""The page of `report --html`, in a browser: nothing of it is cut off, on a phone or a wide screen.

Run under Chromium where that is installed (`apt-get install chromium`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sanic_reaper.report.page import page
from sanic_reaper.report.run_report import RunReport
from sanic_reaper.state.server import Server

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
LONGEST = 120
"""Seconds that a browser may take to start, on a busy machine."""

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")

HARNESS = """<!DOCTYPE html><body><iframe id="f" src="page.html" style="width:WIDTHpx;height:900px;
border:0"></iframe><pre id="found"></pre><script>
document.getElementById("f").onload = function () {
  const inner = this.contentDocument;
  for (const one of inner.querySelectorAll("details")) one.open = true;
  const cut = [...inner.querySelectorAll("th,td,dd,li,p,h1,h2,h3,code,summary")]
    .filter(one => one.getBoundingClientRect().right > WIDTH + 1)
    .filter(one => !one.closest("thead") ||
      getComputedStyle(one.closest("thead")).position != "absolute")  // for screen readers alone
    .map(one => one.outerHTML.slice(0, 80));
  const seen = [...inner.querySelectorAll("tbody td")]
    .filter(one => one.getBoundingClientRect().width > 0).length;
  document.getElementById("found").textContent =
    JSON.stringify({wide: inner.documentElement.scrollWidth, cut: cut, seen: seen});
};
</script></body>
"""
"""Measures the page in a frame of that width: a window can't be made as narrow as a phone."""

T = 1000.0
LONG = "a_handler_with_a_name_that_nobody_would_wish_to_read_on_a_telephone_of_any_size"


def records():
    yield (
        "server",
        {
            "version": "1",
            "run": "abc",
            "app": "Shop",
            "pid": "1",
            "start": "10",
            "phase": "stopped",
            "began": str(T),
            "began_serving": str(T + 5),
            "began_stopping": str(T + 30),
            "began_stopped": str(T + 33),
            "clock": "1000000000",
            "wanted": "12",
            "host": "a-host-with-a-long-name.in.a.long.domain.example.org",
            "reaper": "0.1.0",
            "sanic": "25.12.1",
            "python": "3.13.1",
        },
    )
    for pid in range(2, 14):
        who = {"pid": str(pid), "start": str(pid * 10)}
        more = {"killed": "did not stop in time"} if pid % 5 == 0 else {"exit_code": "0"}
        yield (
            "process",
            {
                **who,
                "role": "worker",
                "name": f"Sanic-Server-{pid}-0",
                "began": str(T + 1),
                "asked": str(T + 30),
                "ended": str(T + 32),
                "state": "ended",
                "requests": "123456789",
                **more,
            },
        )
        yield "start", {**who, "imported": str(T + 2), "ready": str(T + pid)}
        place = {"name": LONG, "file": f"/srv/{LONG}/{LONG}.py", "line": "1234"}
        yield "handler", {**who, **place, "began": str(T + 2), "ended": str(T + 3)}


def measured(folder: Path, html: str, width: int) -> dict:
    (folder / "page.html").write_text(html)
    (folder / "harness.html").write_text(HARNESS.replace("WIDTH", str(width)))
    options = "headless no-sandbox disable-gpu no-first-run disable-background-networking"
    options += " disable-component-update disable-sync disable-quic allow-file-access-from-files"
    done = subprocess.run(
        [
            str(BROWSER),
            *(f"--{option}" for option in options.split()),
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={max(width, 500) + 50},1000",
            "--virtual-time-budget=5000",
            "--dump-dom",
            (folder / "harness.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=True,
    )
    found = re.search(r'<pre id="found">(\{.*?\})</pre>', done.stdout, re.S)
    assert found is not None, done.stdout + done.stderr
    data: dict = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">"))
    return data


@needs_browser
@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_cut_off(tmp_path, width):
    html = page(RunReport(Server(0, "/run/x", records()), T + 50, lives=False))
    found = measured(tmp_path, html, width)
    assert found["cut"] == []
    assert found["wide"] <= width
    assert found["seen"] >= 12 * 5, "the control: the values of the table are there"


@needs_browser
def test_control_what_is_too_wide_is_found(tmp_path):
    html = page(RunReport(Server(0, "/run/x", records()), T + 50, lives=False))
    wide = html.replace("<main>", '<main><p style="width:900px">wide</p>')
    found = measured(tmp_path, wide, 800)
    assert found["wide"] > 800
    assert len(found["cut"]) == 1
