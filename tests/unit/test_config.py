"""`Settings.read`: defaults, units, and what is refused with which words."""

from __future__ import annotations

import dataclasses
import math
import signal
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanic.config import Config

from sanic_reaper import values
from sanic_reaper.config import (
    KEYS,
    TABLE,
    BadSetting,
    Settings,
    unknown_keys,
    warnings_about_keys,
)
from sanic_reaper.untrusted import FARTHEST, LONGEST_DURATION

DURATIONS = [
    "REAPER_STARTUP_TIMEOUT",
    "REAPER_SHUTDOWN_TIMEOUT",
    "REAPER_ORPHAN_GRACE",
    "REAPER_HANDLER_TIMEOUT",
    "REAPER_SLOW_HANDLER",
]


def test_the_defaults_are_those_of_the_documents():
    settings = Settings.read({"GRACEFUL_SHUTDOWN_TIMEOUT": 15.0})
    assert settings == Settings(
        enabled=True,
        startup_timeout=60.0,
        shutdown_timeout=20.0,
        orphan_grace=5.0,
        pdeathsig=signal.SIGTERM,
        handler_timeout=0.0,
        slow_handler=5.0,
        startup_retries=0,
        respawn=True,
        respawn_limit=5,
        respawn_window=60.0,
        heartbeat_timeout=0.0,
        blocked_warning=10.0,
        slow_request=0.0,
        request_paths=True,
        max_lifetime=0.0,
        max_requests=0,
        max_rss=0,
        recycle_jitter=0.1,
        sweep=True,
        endpoint="",
    )


OTHER = {
    # kind: what a user may write that is no default, and what is made of it
    values.SWITCH: (False, False),
    values.SECONDS: (1, 1.0),
    values.LIMIT: (1, 1.0),
    values.COUNT: (1, 1),
    values.SHARE: (1, 1.0),
    values.SIZE: ("1KiB", 1024),
    values.PATH: ("/a", "/a"),
    values.SIGNAL: ("SIGUSR1", signal.SIGUSR1),
}
STALLS = (1, 1.0)
"""The same for an event loop that stands still, of which there is a kind for each use."""


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.key)
def test_each_key_sets_its_own_field_and_no_other(row):
    value, expected = OTHER.get(row.kind, STALLS)
    default = Settings.read({})
    assert getattr(default, row.attribute) != expected
    assert Settings.read({row.key: value}) == dataclasses.replace(
        default, **{row.attribute: expected}
    )


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.key)
def test_each_variable_sets_what_its_key_sets(row, monkeypatch):
    value, expected = OTHER.get(row.kind, STALLS)
    monkeypatch.setenv(f"SANIC_{row.key}", str(value))
    assert getattr(Settings.read(Config()), row.attribute) == expected


def test_the_keys_are_those_that_users_have_set():
    """A key is the user's: it is renamed on purpose, and not because an attribute is."""
    assert [key.removeprefix("REAPER_") for key in KEYS] == [
        "ENABLED",
        "STARTUP_TIMEOUT",
        "SHUTDOWN_TIMEOUT",
        "ORPHAN_GRACE",
        "PDEATHSIG",
        "HANDLER_TIMEOUT",
        "SLOW_HANDLER",
        "STARTUP_RETRIES",
        "RESPAWN",
        "RESPAWN_LIMIT",
        "RESPAWN_WINDOW",
        "HEARTBEAT_TIMEOUT",
        "BLOCKED_WARNING",
        "SLOW_REQUEST",
        "REQUEST_PATHS",
        "MAX_LIFETIME",
        "MAX_REQUESTS",
        "MAX_RSS",
        "RECYCLE_JITTER",
        "SWEEP",
        "ENDPOINT",
    ]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.key)
def test_a_row_stands_alone(row):
    assert row.meaning[0].isupper()
    assert row.meaning.endswith(".")
    assert "|" not in row.kind.column + row.meaning


SECONDS = "a finite number of seconds, 0 or more"
SIZE = (
    'a number of bytes, or one with a unit, such as "512MiB": '
    "B, KB, KiB, K, MB, MiB, M, GB, GiB, G, TB, TiB, T"
)
HEARTBEAT = "0 for no limit, or 1 second or more, as a healthy worker may stand still for a moment"
BLOCKED = (
    "0 for no warning, or 0.5 seconds or more, as a healthy worker may stand still for a moment"
)
SIGNAL = 'the name of a signal such as "SIGTERM", or "" for none'
PATH = 'a path such as "/__reaper__", without a slash at its end; or "" for none'


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("REAPER_SWEEP", "no", "True or False"),
        ("REAPER_STARTUP_TIMEOUT", "soon", f"{SECONDS}, or None"),
        ("REAPER_ORPHAN_GRACE", -1, SECONDS),
        ("REAPER_MAX_REQUESTS", 0.5, "a whole number, 0 or more"),
        ("REAPER_RECYCLE_JITTER", 2, "a number from 0 to 1"),
        ("REAPER_MAX_RSS", "much", SIZE),
        ("REAPER_MAX_RSS", "512m", SIZE),
        ("REAPER_MAX_RSS", "\u0663MiB", SIZE),  # an Arabic digit
        ("REAPER_HEARTBEAT_TIMEOUT", 0.01, HEARTBEAT),
        ("REAPER_HEARTBEAT_TIMEOUT", 0.999, HEARTBEAT),
        ("REAPER_BLOCKED_WARNING", 0.001, BLOCKED),
        ("REAPER_BLOCKED_WARNING", 0.499, BLOCKED),
        ("REAPER_MAX_RSS", "9" * 400 + "MiB", SIZE),
        ("REAPER_MAX_LIFETIME", 10**400, SECONDS),
        ("GRACEFUL_SHUTDOWN_TIMEOUT", 10**400, SECONDS),
        ("GRACEFUL_SHUTDOWN_TIMEOUT", math.nan, SECONDS),
        ("REAPER_PDEATHSIG", "SIGNONSENSE", SIGNAL),
        ("REAPER_PDEATHSIG", 15, SIGNAL),
        ("REAPER_ENDPOINT", "a", PATH),
    ],
)
def test_the_whole_message(key, value, allowed):
    with pytest.raises(BadSetting) as refused:
        Settings.read({key: value})
    assert str(refused.value) == f"{key} = {value!r} is not allowed: {allowed}"


def test_the_time_to_stop_follows_sanics_own():
    assert Settings.read({"GRACEFUL_SHUTDOWN_TIMEOUT": 2}).shutdown_timeout == 7.0


def test_a_grace_without_end_has_one_for_us():
    config = {"GRACEFUL_SHUTDOWN_TIMEOUT": math.inf}
    settings = Settings.read(config)
    assert settings.shutdown_timeout == 86405.0
    [warning] = settings.warnings(config)
    assert warning == (
        "GRACEFUL_SHUTDOWN_TIMEOUT = inf: a stop takes as long as a request does; set "
        "REAPER_SHUTDOWN_TIMEOUT to give it a limit shorter than a day"
    )
    limited = {**config, "REAPER_SHUTDOWN_TIMEOUT": 20}
    assert Settings.read(limited).shutdown_timeout == 20.0
    assert not list(Settings.read(limited).warnings(limited))


@pytest.mark.parametrize(("grace", "limit", "warned"), [(15, 14.9, 1), (15, 15, 0), (3, 4, 0)])
def test_requests_that_would_be_cut_off(grace, limit, warned):
    config = {"GRACEFUL_SHUTDOWN_TIMEOUT": grace, "REAPER_SHUTDOWN_TIMEOUT": limit}
    warnings = list(Settings.read(config).warnings(config))
    assert len(warnings) == warned
    assert all("requests in flight are cut off after 14.9 s" in one for one in warnings)


def test_nothing_is_no_endless_stop():
    """In other settings 0 means that there is no limit."""
    config = {"REAPER_SHUTDOWN_TIMEOUT": 0}
    [warning] = Settings.read(config).warnings(config)
    assert warning == (
        "REAPER_SHUTDOWN_TIMEOUT = 0 s: each stop kills all processes at once, and no request in "
        "flight is answered; 0 does not mean that there is no limit"
    )


@pytest.mark.parametrize(
    ("limit", "warned"), [(1, 1), (512, 1), ("0.5MiB", 1), ("1MiB", 0), (0, 0)]
)
def test_a_limit_of_memory_without_its_unit(limit, warned):
    """Each worker would be recycled as soon as it serves, again and again."""
    config = {"REAPER_MAX_RSS": limit}
    warnings = list(Settings.read(config).warnings(config))
    assert len(warnings) == warned
    words = "each worker takes more, and is recycled as soon as it serves; a limit with a unit is"
    assert all(one.endswith(f'{words} "512MiB", for example') for one in warnings)


@pytest.mark.parametrize(("shortest", "unit"), [(0.5, "seconds"), (1, "second"), (2, "seconds")])
def test_a_time_that_blames_a_healthy_worker(shortest, unit):
    kind = values.stall(shortest, "warning")
    assert (kind.convert(0), kind.convert(shortest)) == (0.0, shortest)
    with pytest.raises(BadSetting, match="as a healthy worker may stand still"):
        Settings.read({"REAPER_HEARTBEAT_TIMEOUT": 0.9})
    with pytest.raises(ValueError, match=r"^$"):
        kind.convert(shortest - 0.1)
    assert kind.allowed == (
        f"0 for no warning, or {shortest:g} {unit} or more, as a healthy worker may stand still "
        "for a moment"
    )
    assert kind.column == f"seconds, `{shortest:g}` or more, or `0`"


@pytest.mark.parametrize("key", ["REAPER_heartbeat_timeout", "REAPER_HEARTBEAT"])
def test_a_key_in_small_letters_or_without_its_end(key):
    [warning] = warnings_about_keys({key: 1})
    assert warning.endswith("did you mean REAPER_HEARTBEAT_TIMEOUT?")


def test_what_a_misspelt_key_may_mean():
    near, far = warnings_about_keys({"REAPER_SHUTDOWN_TIMOUT": 3, "REAPER_SPEED": 1})
    assert near == (
        "REAPER_SHUTDOWN_TIMOUT is not a setting of the Reaper: "
        "did you mean REAPER_SHUTDOWN_TIMEOUT?"
    )
    assert far == f"REAPER_SPEED is not a setting of the Reaper: there are {', '.join(KEYS)}"


def test_the_time_to_stop_may_also_be_shorter_than_sanics():
    config = {"GRACEFUL_SHUTDOWN_TIMEOUT": 15.0, "REAPER_SHUTDOWN_TIMEOUT": 1}
    assert Settings.read(config).shutdown_timeout == 1.0


@pytest.mark.parametrize("limit", [0, 0.0, None])
def test_no_limit_for_a_start(limit):
    assert Settings.read({"REAPER_STARTUP_TIMEOUT": limit}).startup_timeout is None


@pytest.mark.parametrize("key", ["REAPER_SHUTDOWN_TIMEOUT", "REAPER_ORPHAN_GRACE"])
def test_zero_is_a_duration_elsewhere(key):
    settings = Settings.read({key: 0})
    assert getattr(settings, key.removeprefix("REAPER_").lower()) == 0.0


def test_a_signal_by_its_name_or_none():
    assert Settings.read({"REAPER_PDEATHSIG": "SIGKILL"}).pdeathsig == signal.SIGKILL
    assert Settings.read({"REAPER_PDEATHSIG": ""}).pdeathsig == 0


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False) | st.integers(0, 10**9))
@pytest.mark.parametrize("key", DURATIONS)
def test_every_finite_duration_is_taken_as_it_is(key, value):
    field = key.removeprefix("REAPER_").lower()
    found = getattr(Settings.read({key: value}), field)
    assert found == min(value, LONGEST_DURATION) or (found is None and value == 0)


@pytest.mark.parametrize("value", [1e300, sys.maxsize])
@pytest.mark.parametrize("key", [*DURATIONS, "GRACEFUL_SHUTDOWN_TIMEOUT"])
def test_a_duration_that_stands_for_no_limit(key, value):
    settings = Settings.read({key: value})
    field = key.removeprefix("REAPER_").lower().replace("graceful_", "")
    assert LONGEST_DURATION <= getattr(settings, field) < FARTHEST, (
        "the watchdog refuses what is longer"
    )


@given(
    st.floats(max_value=0, exclude_max=True)
    | st.sampled_from([math.nan, math.inf, True, False, [], {}, object()])
    | st.text()
)
@pytest.mark.parametrize("key", DURATIONS)
def test_every_other_value_is_refused_by_name(key, value):
    with pytest.raises(BadSetting) as caught:
        Settings.read({key: value})
    message = str(caught.value)
    assert message.startswith(f"{key} = {value!r}")
    assert "allowed" in message
    assert "seconds" in message


@pytest.mark.parametrize("value", [None, 15, 0, "TERM", "SIGNONSENSE", "sigterm", b"SIGTERM", " "])
def test_what_is_no_name_of_a_signal(value):
    with pytest.raises(BadSetting, match="REAPER_PDEATHSIG"):
        Settings.read({"REAPER_PDEATHSIG": value})


@pytest.mark.parametrize("value", [None, 0, 1, "yes", ""])
def test_what_is_no_switch(value):
    with pytest.raises(BadSetting, match="REAPER_ENABLED"):
        Settings.read({"REAPER_ENABLED": value})


@given(st.text(min_size=1), st.sampled_from(DURATIONS))
def test_the_message_is_one_line(value, key):
    """It goes to a log, and the value comes from outside."""
    with pytest.raises(BadSetting) as caught:
        Settings.read({key: value})
    assert len(str(caught.value).splitlines()) == 1


def test_misspelt_keys_are_found_and_nobody_elses():
    config = dict.fromkeys([*KEYS, "REAPER_WITHOUT", "REAPER_ORPHANS", "SOMETHING", "REAPERS"], 1)
    assert unknown_keys(config) == ["REAPER_ORPHANS"]


def test_settings_do_not_change():
    with pytest.raises(AttributeError):
        Settings.read({}).orphan_grace = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("value", [-1, 1.5, "3", True, None, math.nan])
def test_a_count_that_is_none(value):
    with pytest.raises(BadSetting, match="REAPER_STARTUP_RETRIES") as refused:
        Settings.read({"REAPER_STARTUP_RETRIES": value})
    assert "a whole number, 0 or more" in str(refused.value)


def test_a_count():
    assert Settings.read({"REAPER_STARTUP_RETRIES": 3}).startup_retries == 3


@pytest.mark.parametrize("value", [0, 0.0, 0.5, 1, 1.0])
def test_a_share(value):
    assert Settings.read({"REAPER_RECYCLE_JITTER": value}).recycle_jitter == value


@pytest.mark.parametrize("value", [-0.1, 1.1, True, False, "0.5", None, math.nan])
def test_what_is_no_share(value):
    with pytest.raises(BadSetting, match="REAPER_RECYCLE_JITTER"):
        Settings.read({"REAPER_RECYCLE_JITTER": value})


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 0),
        (1, 1),
        ("5", 5),
        ("5B", 5),
        ("0.1", 1),
        ("0B", 0),
        ("1.5 KB", 1500),
        ("1KiB", 1024),
        ("2MiB", 2 * 1024**2),
        ("3GB", 3 * 1000**3),
        ("1TiB", 1024**4),
    ],
)
def test_a_size(value, size):
    assert Settings.read({"REAPER_MAX_RSS": value}).max_rss == size


@pytest.mark.parametrize("value", [-1, 1.5, True, False, None, "", "iB", "1 PB", "-1", "1kb"])
def test_what_is_no_size(value):
    with pytest.raises(BadSetting, match="REAPER_MAX_RSS"):
        Settings.read({"REAPER_MAX_RSS": value})


@pytest.mark.parametrize("value", ["", None])
def test_no_endpoint(value):
    assert Settings.read({"REAPER_ENDPOINT": value}).endpoint == ""


@pytest.mark.parametrize("value", ["/__reaper__", "/a/b-c", "/.well-known/x", "/~a.b"])
def test_an_endpoint(value):
    assert Settings.read({"REAPER_ENDPOINT": value}).endpoint == value


NO_PREFIXES = "/ a /a/ //a /a//b /<a> /a?b /a#b /.. /a/./b /%41 /\u00e4"


@pytest.mark.parametrize("value", [*NO_PREFIXES.split(), "/a b", "/a\n", True, 1, ["/a"]])
def test_what_is_no_prefix_of_paths(value):
    with pytest.raises(BadSetting, match=r'REAPER_ENDPOINT .* a path such as "/__reaper__"'):
        Settings.read({"REAPER_ENDPOINT": value})
