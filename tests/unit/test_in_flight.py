"""The requests in flight of a worker, by the attributes of Sanic's connections."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest
from sanic import Request, Sanic
from sanic.compat import Header
from sanic.http import Stage

from sanic_reaper.compat.sanic_requests import STAGES, down_to_handler, id_of, share_connections
from sanic_reaper.model.questions import RECEIVING
from sanic_reaper.protocol import worker as words
from sanic_reaper.worker.in_flight import LONGEST, InFlight
from sanic_reaper.worker.slow_requests import MOST_FRAMES, SlowRequests


class Connection:
    """With the attributes of Sanic's protocol that are read, and a place in a set."""

    def __init__(self, path="/", age=1.0, stage=Stage.HANDLER, task=None, websocket=None, **of):
        fields = {"method": "GET", "path": path, "name": "Shop.index", "_id": "17", **of}
        self._task = task
        self.websocket = websocket
        self.http = SimpleNamespace(
            request=SimpleNamespace(**fields), perft0=time.perf_counter() - age, stage=stage
        )


def idle() -> Connection:
    """One that is kept alive, or has sent half a header."""
    connection = Connection()
    connection.http.perft0 = None
    return connection


def closed() -> Connection:
    connection = Connection()
    connection.http = None
    return connection


def without_a_request() -> Connection:
    connection = Connection()
    connection.http.request = None
    return connection


def of(*connections: object, shows_paths: bool = True) -> InFlight:
    return InFlight([set(connections), set()], shows_paths)


def paths(in_flight: InFlight, found=None) -> list[str]:
    found = in_flight.found() if found is None else found
    return [in_flight.described(one)[1] for one in found]


def test_the_oldest_come_first():
    in_flight = InFlight([{Connection("/b", 2), Connection("/a", 3)}, {Connection("/c", 1)}])
    assert paths(in_flight) == ["/a", "/b", "/c"]
    number, oldest = in_flight.count()
    assert number == 3
    assert 3.0 <= oldest < 60.0


@pytest.mark.parametrize("connection", [idle(), closed(), without_a_request()])
def test_a_connection_that_has_no_request(connection):
    in_flight = of(connection)
    assert in_flight.found() == []
    assert in_flight.count() == (0, 0.0)


class Changed:
    """Of a later Sanic."""

    @property
    def http(self):
        raise RuntimeError("not here")


@pytest.mark.parametrize("connection", [object(), Changed(), SimpleNamespace(http=object())])
def test_other_attributes_cost_no_heartbeat(connection):
    in_flight = InFlight([[connection]])
    assert in_flight.found() == []
    assert in_flight.count() == (0, 0.0)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        (Stage.HANDLER, "handler"),
        (Stage.RESPONSE, "response"),
        (Stage.FAILED, "error handler"),
        (Stage.IDLE, "after the response"),
        (object(), ""),
    ],
)
def test_its_stage(stage, name):
    in_flight = of(Connection(stage=stage))
    assert in_flight.described(in_flight.found()[0])[4] == name


def test_sanic_has_these_stages():
    assert STAGES.keys() <= {stage.name for stage in Stage}


@pytest.mark.parametrize(
    ("connection", "name"),
    [
        (Connection(), "HTTP"),
        (Connection(stage=Stage.RESPONSE), "streaming"),
        (Connection(websocket=object()), "WebSocket"),
    ],
)
def test_its_connection(connection, name):
    in_flight = of(connection)
    assert in_flight.described(in_flight.found()[0])[6] == name


class Nasty:
    method = "GET"

    @property
    def path(self):
        return b"\xff".decode()

    @property
    def name(self):
        raise LookupError

    @property
    def id(self):
        raise RuntimeError


def test_a_request_that_can_not_be_described_is_one_all_the_same():
    connection = Connection()
    connection.http.request = Nasty()
    connection._task = SimpleNamespace()  # a loop of another kind
    in_flight = of(connection)
    [found] = in_flight.found()
    fields = in_flight.described(found)
    assert fields[:4] == ["GET", "", "", ""]
    assert fields[-2:] == [False, []]


class Counting(Request):
    """Of an app that makes ids by itself: asking must not use one up."""

    made = 0

    def generate_id(self):
        Counting.made += 1
        return Counting.made


@pytest.mark.parametrize(
    ("request_class", "headers", "shown"),
    [(Request, {}, "-4"), (Request, {"x-request-id": "abc"}, "abc"), (Counting, {}, "")],
)
def test_the_id_of_a_request(request_class, headers, shown):
    app = Sanic("Identified")
    found = request_class(b"/", Header(headers), "1.1", "GET", None, app)
    Sanic._app_registry.pop("Identified")
    assert shown in str(id_of(found))
    assert bool(id_of(found)) == bool(shown)
    assert Counting.made == 0
    assert found.id is not None
    assert str(id_of(found)) == str(found.id), "the one that it has"
    Counting.made = 0


def test_long_texts_are_cut():
    in_flight = of(Connection("/" + "x" * 5000, _id="y" * 5000))
    fields = in_flight.described(in_flight.found()[0])
    assert (len(fields[1]), len(fields[3])) == (LONGEST, LONGEST)


def test_a_path_that_is_not_to_be_shown_never_leaves_the_worker():
    in_flight = of(Connection("/private"), shows_paths=False)
    fields = in_flight.described(in_flight.found()[0])
    assert "private" not in repr(fields)
    assert fields[2] == "Shop.index"


@pytest.mark.parametrize("word", [words.REQUEST, words.SLOW])
def test_main_understands_the_fields(word):
    in_flight = of(Connection())
    fields = in_flight.described(in_flight.found()[0])
    assert words.read([word, *fields]) == (word, fields)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def test_where_it_waits_and_that_it_receives_its_body():
    async def receive_more() -> None:
        await forever()

    async def shown(function):
        task = asyncio.create_task(function())
        await asyncio.sleep(0)
        in_flight = of(Connection(task=task))
        fields = in_flight.described(in_flight.found()[0])
        task.cancel()
        return fields

    fields = asyncio.run(shown(forever))
    assert fields[4] == "handler"
    assert [frame[2] for frame in fields[-1]] == ["forever"]
    fields = asyncio.run(shown(receive_more))
    assert fields[4] == RECEIVING


class Disconnected(Connection):
    """Its client has gone, and so Sanic's set does not have it. Its task goes on."""

    async def connection_task(self) -> None:
        await forever()


async def connection_task() -> None:
    """Of the user's code, and of no connection."""
    await forever()


@pytest.mark.parametrize(
    ("websocket", "shown"), [(None, "closed"), (object(), "WebSocket")], ids=["HTTP", "WebSocket"]
)
def test_a_handler_that_goes_on_when_its_client_has_gone(websocket, shown):
    async def found():
        here, gone = Connection("/here", 1), Disconnected("/gone", 2, websocket=websocket)
        tasks = [asyncio.create_task(one()) for one in (gone.connection_task, connection_task)]
        gone._task = tasks[0]
        await asyncio.sleep(0)
        in_flight = of(here)
        known = in_flight.found()
        described = [in_flight.described(one) for one in in_flight.with_forgotten(known)]
        gone.http = None
        assert in_flight.with_forgotten(known) == known, "it has ended"
        for task in tasks:
            task.cancel()
        return described

    gone, here = asyncio.run(found())
    assert (gone[1], gone[6], here[1], here[6]) == ("/gone", shown, "/here", "HTTP")
    assert [frame[2] for frame in gone[-1]] == ["forever", "connection_task"]


def test_no_loop_and_other_attributes_forget_nobody():
    in_flight = of(Connection("/here"))
    assert paths(in_flight, in_flight.with_forgotten(in_flight.found())) == ["/here"]
    assert InFlight([[object()]]).with_forgotten([]) == []


FRAMES = [("locks.py", 213, "wait"), ("/srv/shop/db.py", 40, "fetch"), ("app.py", 7, "export")]
OWN = ("/srv/shop/app.py", 7, "handle_request")
BELOW = [("handle_request", 99, "handle_request"), ("/lib/sanic/http/http1.py", 123, "http1")]


@pytest.mark.parametrize(
    ("frames", "shown"),
    [
        ([*FRAMES, *BELOW], FRAMES),
        (FRAMES, FRAMES),
        (BELOW, BELOW),
        ([], []),
        ([*FRAMES, *BELOW, *FRAMES, *BELOW], FRAMES),
        ([*FRAMES, ("/lib/sanic/app.py", 1300, "handle_request")], FRAMES),
        ([*FRAMES, OWN, *BELOW], [*FRAMES, OWN]),
    ],
    ids=[
        "a handler",
        "without Sanic",
        "Sanic alone",
        "none",
        "one in one",
        "as it stands in Sanic",
        "a user's of that name",
    ],
)
def test_the_frames_below_the_handler_are_left_out(frames, shown):
    assert down_to_handler(frames) == shown


@pytest.mark.parametrize("number", [0, 1, 10, 11, 5000])
def test_the_foremost(number):
    in_flight = of(*(Connection(f"/{at}", number - at) for at in range(number)))
    found = in_flight.foremost(in_flight.found(), 10)
    assert paths(in_flight, found) == [f"/{at}" for at in range(min(number, 10))]


def test_the_one_that_runs_is_foremost_however_young_it_is():
    running = SimpleNamespace(get_coro=lambda: SimpleNamespace(cr_running=True))
    waiting = [Connection(f"/{at}", 100 - at) for at in range(20)]
    in_flight = of(*waiting, Connection("/runs", 0.1, task=running))
    found = in_flight.foremost(in_flight.found(), 10)
    assert [one.request.path for one in found] == ["/runs", *(f"/{at}" for at in range(9))]


# -- where Sanic keeps its connections ------------------------------------------------------------


def test_the_servers_of_a_worker_keep_their_connections_where_they_are_found():
    settings = {}
    infos = {"Other": [SimpleNamespace(settings=settings)]}
    arguments = {"server_info": infos}
    first, second = share_connections(arguments)
    assert arguments["connections"] is first
    assert settings["connections"] is second
    assert share_connections(arguments) == [first, second], "and it is the same at a second look"


@pytest.mark.parametrize("infos", [None, {}, {"Other": [object()]}, {"Other": 3}])
def test_what_is_no_server_costs_only_itself(infos):
    arguments = {"server_info": infos}
    assert share_connections(arguments)[0] is arguments["connections"]


# -- slow ones ------------------------------------------------------------------------------------


class Watched:
    """A look once a second, when the test says so."""

    def __init__(self, *connections: Connection, limit: float = 5.0) -> None:
        self.connections = set(connections)
        self.sent: list[tuple[str, str]] = []
        self.room = 1000
        self.looks = 0
        self.slow = SlowRequests(InFlight([self.connections]), limit, self.send)

    def send(self, word, *fields):
        assert words.read([word, *fields])
        if self.room <= len(self.sent):
            return False
        self.sent.append((word, fields[1]))
        return True

    def call_later(self, seconds, function, loop):
        self.looks += 1

    def look(self) -> list[str]:
        before = len(self.sent)
        self.slow.check(self)
        return [path for _, path in self.sent[before:]]


def test_a_slow_request_is_told_of_once():
    old, young = Connection("/old", 6), Connection("/young", 4)
    watched = Watched(old, young)
    assert watched.look() == ["/old"]
    assert watched.look() == []
    young.http.perft0 -= 2
    assert watched.look() == ["/young"]
    assert (watched.looks, {word for word, _ in watched.sent}) == (3, {"slow"})


def test_the_next_request_of_a_connection_is_another_one():
    connection = Connection("/first", 6)
    watched = Watched(connection)
    assert watched.look() == ["/first"]
    connection.http.request.path = "/second"
    connection.http.perft0 -= 1
    assert watched.look() == ["/second"]


def test_a_websocket_is_never_slow():
    assert Watched(Connection(age=9000, websocket=object())).look() == []


def test_what_the_pipe_has_no_room_for_is_told_of_later():
    watched = Watched(*(Connection(f"/{at}", 100 - at) for at in range(5)))
    watched.room = 2
    assert watched.look() == ["/0", "/1"]
    watched.room = 3
    assert watched.look() == ["/2"]
    watched.room = 1000
    assert watched.look() == ["/3", "/4"]
    assert watched.look() == []


def test_a_report_fits_into_one_write_of_a_pipe():
    async def deeper(left: int) -> None:
        if left:
            await deeper(left - 1)
        await forever()

    async def report():
        task = asyncio.create_task(deeper(90))
        await asyncio.sleep(0)
        sent = []
        slow = SlowRequests(of(Connection(age=9, task=task)), 5.0, lambda *said: sent.append(said))
        slow.check(SimpleNamespace(call_later=lambda *_: None))
        task.cancel()
        return sent

    [(_, *fields)] = asyncio.run(report())
    assert len(fields[-1]) == MOST_FRAMES
    assert fields[-1][0][2] == "forever", "the innermost line is there"
