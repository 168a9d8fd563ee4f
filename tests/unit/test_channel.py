"""Each message arrives once, whatever comes between."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
from collections import Counter

import pytest

from sanic_reaper.protocol import channel
from sanic_reaper.protocol.channel import Channel


@pytest.fixture
def pair():
    ends = [Channel(end.detach()) for end in socket.socketpair()]
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def on_signal():
    """Set a handler of SIGUSR1 for the length of a test."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, lambda *_: handler())
    signal.signal(signal.SIGUSR1, before)


def words(channel: Channel) -> list[str]:
    return [" ".join(message) for message in channel.receive()]


def test_a_message_is_words(pair):
    near, far = pair
    assert near.send("adopt", 12, 0.5, "a name")
    assert far.receive() == [["adopt", "12", "0.5", "a name"]]
    assert far.receive() == []


def test_a_signal_is_sent_as_its_number(pair):
    """Before CPython 3.11 its name is what `str` makes of it, and that is not understood."""
    near, far = pair
    near.send("signalled", signal.SIGTERM, signal.NSIG)
    assert far.receive() == [["signalled", "15", str(signal.NSIG)]]


def test_what_would_break_the_form_is_replaced(pair):
    near, far = pair
    near.send("log", "a\tb\nc", "\udce4")
    assert far.receive() == [["log", "a b c", "\\udce4"]]


def test_a_message_that_is_longer_than_the_buffer_arrives_whole(pair):
    near, far = pair
    reason = "x" * 1_000_000
    assert not near.send("log", reason)
    received = words(far)
    late = flush(near, far, received)
    assert received == [f"log {reason}", *late]


def test_what_a_peer_that_never_reads_has_not_got_is_not_kept_for_ever(pair, monkeypatch):
    """It takes memory. Who reads again in the end hears what is said from then on."""
    near, far = pair
    monkeypatch.setattr(channel, "_LIMIT", 5)
    sent = fill(near)
    for number in range(6):
        assert not near.send(f"late {number}")
    assert len(near._unsent) <= 5
    assert near.lost
    assert words(far) == sent[:-1]
    assert near.send("at last")
    received = words(far)
    assert received[-1] == "at last"
    assert len(received) < 6


def test_half_a_message_is_still_completed_then(pair, monkeypatch):
    """Or the next one would be its other half."""
    near, far = pair
    monkeypatch.setattr(channel, "_LIMIT", 3)
    reason = "x" * 1_000_000
    assert not near.send("log", reason)
    for number in range(4):
        assert not near.send("adopt", number)
    assert near.lost
    received = words(far)
    flush(near, far, received)
    assert received[0] == f"log {reason}"
    assert "adopt 0" not in received


MOMENTS = ["before the write", "after the write"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_handler_sends_in_the_midst_of_a_send(pair, on_signal, monkeypatch, moment):
    """As main's does, when a stop signal comes while main tells of a new worker."""
    near, far = pair
    on_signal(lambda: near.send("from the handler"))
    interrupt_the_first_write(monkeypatch, moment)
    near.send("first")
    near.send("second")
    assert sorted(words(far)) == ["first", "from the handler", "second"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_same_while_nobody_reads(pair, on_signal, monkeypatch, moment):
    near, far = pair
    sent = fill(near)
    on_signal(lambda: near.send("from the handler"))
    interrupt_the_first_write(monkeypatch, moment)
    assert not near.send("while it is full")
    received = words(far)
    # The next message takes along what has had to wait.
    assert near.send("and when there is room again")
    received += words(far)
    late = ["from the handler", "while it is full", "and when there is room again"]
    assert Counter(received) == Counter([*sent, *late])


def test_a_peer_makes_room_just_when_a_handler_sends(pair, on_signal, monkeypatch):
    """The handler's message overtakes the one that has had to wait; neither is cut in two."""
    near, far = pair
    sent = fill(near)
    received: list[str] = []

    def handle() -> None:
        received.extend(words(far))
        near.send("from the handler")

    on_signal(handle)
    interrupt_the_first_write(monkeypatch, "after the write")
    near.send("while it is full")
    near.send("and when there is room again")
    received += words(far)
    late = ["from the handler", "while it is full", "and when there is room again"]
    assert Counter(received) == Counter([*sent, *late])


def interrupt_the_first_write(monkeypatch, moment: str) -> None:
    """Have a real signal arrive right there, where else it would need a lot of luck."""
    write = os.write
    pending = [moment]

    def interrupted(fd: int, content: bytes) -> int:
        if moment in pending and moment == "before the write":
            pending.clear()
            signal.raise_signal(signal.SIGUSR1)
        try:
            return write(fd, content)
        finally:
            if moment in pending:
                pending.clear()
                signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(os, "write", interrupted)


def fill(channel: Channel) -> list[str]:
    """Send until the peer's buffer is full; return what is on its way or waits."""
    sent = []
    while True:
        sent.append(f"message {len(sent)}")
        if not channel.send(sent[-1]):
            return sent


def flush(near: Channel, far: Channel, received: list[str]) -> list[str]:
    """Send and read on until nothing has to wait any more; return what was sent for that."""
    late = []
    is_empty = False
    while not is_empty:
        late.append(f"late {len(late)}")
        is_empty = near.send(late[-1])
        received += words(far)
    return late


def test_a_storm_of_signals(pair, on_signal):
    """At whatever moment they come."""
    near, far = pair
    handled: list[str] = []

    def handle() -> None:
        handled.append(f"handler {len(handled)}")
        near.send(handled[-1])

    on_signal(handle)
    received: list[str] = []
    over = threading.Event()
    main = threading.get_ident()

    def disturb() -> None:
        while not over.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    own = [f"main {number}" for number in range(3000)]
    try:
        for message in own:
            near.send(message)
            received += words(far)
    finally:
        over.set()
        disturber.join()
    late = flush(near, far, received)
    assert handled, "no signal has come"
    assert Counter(received) == Counter([*own, *handled, *late])


def test_several_threads(pair):
    """Whoever starts a worker tells the watchdog of it, and that need not be the main thread."""
    near, far = pair
    sent = [[f"{name} {number}" for number in range(500)] for name in "abcd"]
    threads = [
        threading.Thread(target=lambda own=own: [near.send(message) for message in own])
        for own in sent
    ]
    for thread in threads:
        thread.start()
    received: list[str] = []
    while any(thread.is_alive() for thread in threads):
        received += words(far)
    late = flush(near, far, received)
    assert Counter(received) == Counter([*itertools.chain(*sent), *late])
