"""`sanic-reaper sweep`, as far as it needs no processes."""

from __future__ import annotations

import pytest

from sanic_reaper.commands import sweep


@pytest.mark.parametrize("arguments", [[], ["--app", "Nope"], ["--json"]], ids=" ".join)
def test_in_a_directory_that_has_been_deleted(tmp_path, monkeypatch, capsys, arguments):
    """Of a deploy that has been rolled back, for example: no app can have been started here."""
    here = tmp_path / "release"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert sweep.main(arguments) == 0
    said = capsys.readouterr().out
    if not arguments:
        assert "started in this directory, which has been deleted" in said
