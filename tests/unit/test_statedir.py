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
LOOP = os.strerror(errno.ELOOP)
"""Each C library has words of its own."""

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
    with pytest.raises(OSError, match=f"Not a directory|{LOOP}"):
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
        with pytest.raises(OSError, match=f"{LOOP}|no file of this user's"):
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


@needs_root
@pytest.mark.root
def test_root_sees_those_whose_directory_is_their_own(tmp_path, monkeypatch):
    """A name alone is nobody's word: anybody may make a directory in /tmp, and call it anything."""
    run, temporary = tmp_path / "run", tmp_path / "tmp"
    homes = ((str(run), ""), (str(temporary), f"{statedir.NAME}-"), (str(tmp_path / "none"), ""))
    monkeypatch.setattr(statedir, "HOMES", homes)
    there = {
        run: {"0": 0, "1000": 1000, "lost+found": 0, "1001": NOBODY, "²": NOBODY},
        temporary: {"sanic-reaper-4711": 4711, "4712": 4712, "sanic-reaper-²": NOBODY},
    }
    for parent, names in there.items():
        parent.mkdir()
        for name, owner in names.items():
            (parent / name).mkdir()
            os.chown(parent / name, owner, -1)
    for name in ("sanic-reaper-٣", "sanic-reaper-" + "9" * 200, "sanic-reaper--1", "sanic-reaper-"):
        (temporary / name).mkdir()
    assert list(statedir.users()) == [0, 1000, 4711]


def test_an_ordinary_user_sees_his_own(monkeypatch):
    monkeypatch.setattr(statedir.os, "geteuid", lambda: 1000)
    assert list(statedir.users()) == [1000]


@needs_root
@pytest.mark.root
def test_no_directory_of_users(tmp_path, monkeypatch):
    monkeypatch.setattr(statedir, "HOMES", ((str(tmp_path / "none"), ""),))
    assert list(statedir.users()) == [0]


def test_a_file_that_is_long_enough_gets_no_more(place, monkeypatch):
    """Nobody would read it: a longer one is not trusted."""
    monkeypatch.setattr(statedir, "LONGEST", 6)
    statedir.make()
    statedir.append(str(place), "x.end", b"one\n")
    with pytest.raises(OSError, match=r"x\.end is long enough"):
        statedir.append(str(place), "x.end", b"two\n")
    statedir.append(str(place), "x.end", b"2\n")
    assert read(place, "x.end") == b"one\n2\n"


def test_whose_a_directory_is(place, tmp_path):
    statedir.make()
    statedir.check_owner(str(place), ME)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(place)
    for path, uid in (("file", ME), ("link", ME), ("sanic-reaper", ME + 1)):
        with pytest.raises(statedir.Untrusted, match=f"{path} is no directory of user {uid}"):
            statedir.check_owner(str(tmp_path / path), uid)
    with pytest.raises(FileNotFoundError):
        statedir.check_owner(str(tmp_path / "none"), ME)


def test_a_file_that_somebody_goes_on_writing_is_read_to_a_bound(place, monkeypatch):
    statedir.make()
    (place / "long").write_bytes(b"x" * 10)
    monkeypatch.setattr(statedir, "LONGEST", 100_000)
    reading = os.read

    def read_and_grow(fd: int, size: int) -> bytes:
        with (place / "long").open("ab") as file:
            file.write(b"x" * 50_000)
        return reading(fd, size)

    monkeypatch.setattr(statedir.os, "read", read_and_grow)
    assert len(read(place, "long")) <= 100_000


def test_a_place_does_not_depend_on_the_working_directory(monkeypatch):
    for variable in ("XDG_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.setenv(variable, "here")
    assert all(os.path.isabs(path) for path in statedir.places(ME))
    assert f"/tmp/{statedir.NAME}-{ME}" in statedir.places(ME)
