"""Where state lies, and who is believed: real directories, real links, a real second user."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from sanic_reaper import state
from sanic_reaper.state import statedir

NOBODY = 65534
ME = os.geteuid()

needs_root = pytest.mark.skipif(ME != 0, reason="needs root, to make what is another user's")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's directory is to be made."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    return tmp_path / "sanic-reaper"


def test_it_is_made_for_its_user_alone(place):
    assert statedir.make() == str(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_one_that_is_open_to_others_is_closed(place):
    place.mkdir(mode=0o755)
    assert statedir.make() == str(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_a_reader_does_not_believe_one_that_is_open(place):
    place.mkdir(mode=0o770)
    place.chmod(0o770)
    with pytest.raises(statedir.Untrusted, match="open to other users"):
        statedir.open_directory(str(place), ME)


def test_a_link_is_not_followed(place, tmp_path):
    (tmp_path / "trap").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "trap")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        statedir.open_directory(str(place), ME)
    if ME != 0:  # root has one more place
        assert statedir.make() != str(place)
    assert not list((tmp_path / "trap").iterdir())


@needs_root
@pytest.mark.root
def test_one_that_another_user_has_made_first_is_not_used(place):
    place.mkdir(mode=0o700)
    os.chown(place, NOBODY, NOBODY)
    with pytest.raises(statedir.Untrusted, match="belongs to user 65534"):
        statedir.open_directory(str(place), ME)
    assert statedir.make() != str(place)


def test_a_file_is_replaced_as_a_whole(place):
    statedir.make()
    statedir.write(str(place), "x.state", b"old")
    before = (place / "x.state").stat().st_ino
    statedir.write(str(place), "x.state", b"new")
    assert (place / "x.state").read_bytes() == b"new"
    assert (place / "x.state").stat().st_ino != before
    assert stat.S_IMODE((place / "x.state").stat().st_mode) == 0o600
    assert [path.name for path in place.iterdir()] == ["x.state"], "no draft stays"


def test_lines_are_added(place):
    statedir.make()
    for word in (b"one\n", b"two\n"):
        statedir.append(str(place), "x.end", word)
    assert (place / "x.end").read_bytes() == b"one\ntwo\n"
    statedir.remove(str(place), "x.end", "never was")
    assert not list(place.iterdir())


def read(place: Path, name: str) -> bytes:
    directory = statedir.open_directory(str(place), ME)
    try:
        return statedir.read(directory, name)
    finally:
        os.close(directory)


def test_what_is_no_ordinary_file_is_not_read(place, tmp_path, monkeypatch):
    statedir.make()
    (tmp_path / "secret").write_text("secret")
    (place / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(place / "pipe")
    (place / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with pytest.raises(OSError, match=r"symbolic links|no file of this user's"):
            read(place, name)
    monkeypatch.setattr(statedir, "LONGEST", 3)
    (place / "long").write_bytes(b"long")
    with pytest.raises(statedir.Untrusted, match="too long"):
        read(place, "long")


@needs_root
@pytest.mark.root
def test_a_file_of_another_user_is_not_read(place):
    statedir.make()
    (place / "his").write_bytes(b"x")
    os.chown(place / "his", NOBODY, NOBODY)
    with pytest.raises(statedir.Untrusted):
        read(place, "his")


@pytest.mark.parametrize("text", ["", "a\tb", "a\nb", "back\\slash", "\\n", "ünï", "x=y", "\udc80"])
def test_a_field_comes_back_as_it_was(text):
    line = state.line("kind", key=text, none=None, number=1.5)
    assert line.count("\n") == 1
    [(kind, fields)] = state.parse(state.encode(line))
    expected = text.encode("utf-8", "backslashreplace").decode()
    assert (kind, fields) == ("kind", {"key": expected, "number": "1.500"})


def test_a_line_that_is_being_written_is_left_out():
    assert state.parse(b"a\tx=1\nb\tx=") == [("a", {"x": "1"})]


def test_a_word_that_is_no_field_is_passed_over():
    assert state.parse(b"a\tx=1\tword\ty=2\n") == [("a", {"x": "1", "y": "2"})]


def test_the_next_place_is_taken_where_one_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    places = [tmp_path / "nowhere" / "x", tmp_path / "file", tmp_path / "good"]
    monkeypatch.setattr(statedir, "places", lambda uid: list(map(str, places)))
    assert statedir.make() == str(tmp_path / "good")
    places.pop()
    with pytest.raises(NotADirectoryError):
        statedir.make()


def test_where_nothing_can_be_written_is_no_place(place, monkeypatch):
    monkeypatch.setattr(statedir, "places", lambda uid: [str(place)])
    monkeypatch.setattr(statedir.os, "access", lambda *_, **__: False)  # root may write anywhere
    with pytest.raises(OSError, match="can't be written to"):
        statedir.make()


def test_a_full_disk_leaves_the_old_file_and_no_draft(place, monkeypatch):
    statedir.make()
    statedir.write(str(place), "x.state", b"old")

    def refuse(fd, content):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(statedir, "_write_all", refuse)
    with pytest.raises(OSError, match="full"):
        statedir.write(str(place), "x.state", b"new")
    assert [path.name for path in place.iterdir()] == ["x.state"]
    assert (place / "x.state").read_bytes() == b"old"


def test_what_is_not_there_can_be_removed(place):
    statedir.remove(str(place), "x.state")
    statedir.make()
    statedir.remove(str(place), "x.state")
    statedir.append(str(place), "x.state", b"x")
    statedir.remove(str(place), "y.state", "x.state")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(("me", "found"), [(0, [0, 1000, 4711]), (1000, [1000])])
def test_whose_servers_one_may_see(monkeypatch, me, found):
    """Root those of all who have left a directory, wherever a user's is."""
    there = {"/run/user": ["0", "1000", "lost+found"], "/tmp": [f"{statedir.NAME}-4711", "4712"]}
    monkeypatch.setattr(statedir.os, "geteuid", lambda: me)
    monkeypatch.setattr(statedir.os, "listdir", there.__getitem__)
    assert list(statedir.users()) == found


def test_no_directory_of_users(monkeypatch):
    def refuse(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(statedir.os, "geteuid", lambda: 0)
    monkeypatch.setattr(statedir.os, "listdir", refuse)
    assert list(statedir.users()) == [0]
