"""The Sanic program under test. What it does is told by the JSON in the variable SUBJECT.

It leaves an event for whatever happens to it, so that a test waits for what it needs and never
sleeps. `support.server.Subject` documents the fields.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import itertools
import json
import logging
import multiprocessing
import os
import random
import re
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing import active_children
from threading import Event, Lock, Thread, Timer
from typing import Any

from children import CHILDREN
from events import count, emit, start_of
from sanic import HTTPResponse, Request, Sanic
from sanic.helpers import json_dumps
from sanic.log import LOGGING_CONFIG_DEFAULTS
from sanic.logging.formatter import JSONFormatter
from sanic.response import json as json_response
from sanic.response import text
from sanic.worker.inspector import Inspector

SUBJECT: dict[str, Any] = json.loads(os.environ["SUBJECT"])
LISTENERS = (
    "main_process_start",
    "main_process_ready",
    "before_server_start",
    "after_server_start",
    "before_server_stop",
    "after_server_stop",
    "main_process_stop",
)
OS_EXIT_CODE = 9
NOBODY = 65534


# -- what a listener, a handler or an import may do -----------------------------------------------


def hold_gil(seconds: str) -> None:
    """Wait in C with the GIL held: lock a mutex twice. No signal handler of Python's can run."""
    libc = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(128)
    emit("holding")
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def spin(seconds: str) -> None:
    """The same, busy: a loop in C that never looks at a signal."""
    emit("holding")
    sum(itertools.repeat(0))


def swallow(seconds: str) -> None:
    """Take every exception for a hiccup."""
    emit("holding")
    while True:
        try:
            time.sleep(600)
        except BaseException:
            emit("swallowed")


def sit_elsewhere() -> None:
    time.sleep(600)


def swallow_beside_a_thread(seconds: str) -> None:
    Thread(target=sit_elsewhere, daemon=True).start()
    swallow(seconds)


def deaf(seconds: str) -> None:
    """The same, and stop signals are just one more exception: only SIGKILL ends it."""

    def interrupt(signum: int, frame: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    swallow(seconds)


def mask(seconds: str) -> None:
    """Block SIGTERM, as a library may do around the start of a thread, and forget it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    block(seconds)


def mask_all(seconds: str) -> None:
    """The same with all of them: it can't be asked for anything."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    block(seconds)


def block_signals(seconds: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def fail(seconds: str) -> None:
    raise RuntimeError("the database is not there")


def cancel(seconds: str) -> None:
    """As a client library does that takes its own task's cancellation for the caller's."""
    raise asyncio.CancelledError


def interrupt(seconds: str) -> None:
    raise KeyboardInterrupt


def fail_in(name: str) -> None:
    if multiprocessing.current_process().name.startswith(name):
        emit("failing")
        fail("")


def fail_once(seconds: str) -> None:
    emit("failing")
    if count("failing") == 1:
        fail("")


def fail_later(seconds: str) -> None:
    """When all have been up."""
    if count("all acked"):
        fail("")


def leave_quietly(seconds: str) -> None:
    sys.exit(0)


def drop_dead(seconds: str) -> None:
    os._exit(0)


async def sleep_in_loop(seconds: str) -> None:
    emit("holding")
    await asyncio.sleep(float(seconds or 600))


def block(seconds: str) -> None:
    emit("holding")
    time.sleep(float(seconds or 600))


def block_and_fail(seconds: str) -> None:
    block(seconds)
    fail("")


SHARED = Lock()


def hold_shared(seconds: str) -> None:
    """What a hook does with a lock of the app's, say that of a metrics client."""
    with SHARED:
        block(seconds)


def take_shared(seconds: str) -> None:
    with SHARED:
        pass


async def block_in_loop(seconds: str) -> None:
    block(seconds)


async def clean_up_in_loop(seconds: str) -> None:
    emit("holding")
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(float(seconds or 0.1))
        emit("cleaned up")


def block_and_clean_up(seconds: str) -> None:
    emit("holding")
    try:
        time.sleep(600)
    finally:
        time.sleep(float(seconds or 0.1))
        emit("cleaned up")


def block_on_a_socket(seconds: str) -> None:
    ours, _theirs = socket.socketpair()
    emit("holding")
    ours.recv(1)


def block_on_a_lock(seconds: str) -> None:
    lock = Lock()
    lock.acquire()
    emit("holding")
    lock.acquire()


def backtrack(seconds: str) -> None:
    """A regular expression that takes longer than the universe is old, in C, with the GIL held."""
    emit("holding")
    re.match("(a+)+$", "a" * 60 + "b")


async def wait_for_a_thread(seconds: str) -> None:
    """The interpreter waits for it once more when it exits."""
    emit("holding")
    await asyncio.to_thread(time.sleep, 600)


async def swallow_in_loop(seconds: str) -> None:
    emit("holding")
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(600)


def block_first(number: str) -> None:
    """The first so many successors only."""
    if count("successor") <= int(number):
        block("")


async def sleep_in(name: str) -> None:
    """For three seconds, in the process of that name alone."""
    if multiprocessing.current_process().name.startswith(name):
        await sleep_in_loop("3")


async def sleep_later(seconds: str) -> None:
    """When all have been up."""
    if count("after_server_start done") >= SUBJECT["workers"]:
        await sleep_in_loop(seconds)


async def sleep_longer_later(seconds: str) -> None:
    """So long at first, and for good when all have been up."""
    await sleep_later("")
    await sleep_in_loop(seconds)


def block_in(name: str) -> None:
    """For good, in the process of that name alone."""
    if multiprocessing.current_process().name.startswith(name):
        block("")


def trap(name: str) -> None:
    """Handle a signal of main's that the Reaper has taken already."""
    signal.signal(signal.Signals[name], lambda *_: emit("trapped"))


def reap(seconds: str) -> None:
    """As an application does that thinks all children its own."""

    def reap_all(signum: int, frame: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    signal.signal(signal.SIGCHLD, reap_all)


def ignore_children(seconds: str) -> None:
    """The kernel reaps in main's place then."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def become_nobody(seconds: str) -> None:
    os.chmod(os.environ["EVENTS"], 0o666)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def become_nobody_alone(seconds: str) -> None:
    """And neither a process nor a thread can be started any more."""
    become_nobody(seconds)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))


def close_all(seconds: str) -> None:
    """As code does that means to tidy up before it starts something."""
    os.closerange(3, 1000)


def close_all_and_open(seconds: str) -> None:
    """And the numbers are taken at once, by a pipe to which nobody writes."""
    close_all(seconds)
    reading, _ = os.pipe()
    for _ in range(40):
        os.dup(reading)


GARBAGE = b"".join(
    (
        b"\xff\x00 garbage\n",
        b'\x1e"a text"\n\x1e{}\n\x1e[]\n\x1e[[]]\n\x1e["begin"]\n\x1e["unheard of", 1]\n',
        b'\x1e["beat", "many"]\n\x1e["end", 1e999, {}, null]\n\x1e["where", 1, [1]]\n',
        b"\x1e" + b"[" * 3000 + b"\n",
    )
)


def write_garbage(seconds: str) -> None:
    """To a descriptor that happens to be the pipe to main."""
    os.write(report_fd(), GARBAGE)


def flood(seconds: str) -> None:
    """The same without an end, and without the end of a line, while the app serves."""
    fd = report_fd()

    def write() -> None:
        emit("flooding")
        while True:
            with contextlib.suppress(BlockingIOError):
                os.write(fd, b"x" * 65536)

    Thread(target=write, daemon=True).start()


def report_fd() -> int:
    process: Any = multiprocessing.current_process()
    fd: int = process._process_config.report_pipe.fileno()
    return fd


def take_signal(seconds: str) -> None:
    """Handle the signal by which main would ask where this process is."""
    signal.signal(signal.SIGRTMAX - 3, lambda *_: emit("their signal"))


def log_slowly(seconds: str) -> None:
    """As with a log that goes over a slow network: main falls behind with what it is told."""

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            time.sleep(float(seconds))

    logging.getLogger("sanic.root").addHandler(Slow())


def log_badly(how: str) -> None:
    """A handler of the user's that blocks, fails, or waits for a lock that nobody gives back."""

    class Bad(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if how == "blocks":
                time.sleep(600)
            elif how == "raises":
                raise RuntimeError("the log server is not there")

    handler = Bad()
    if how == "waits":
        locker = Thread(target=handler.acquire)
        locker.start()
        locker.join()
    logging.getLogger("sanic.root").addHandler(handler)


def leave_session(seconds: str) -> None:
    with contextlib.suppress(PermissionError):  # it leads one already
        os.setsid()


def lose_directory(seconds: str) -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def limit_itself(seconds: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))


def use_up_pids(number: str) -> None:
    """So many processes, one after another."""
    for _ in range(int(number)):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    emit("pids used up", last=pid)


def stop_app(terminate: str) -> None:
    Sanic.get_app("Subject").stop(terminate=bool(terminate))


ACTIONS: dict[str, Callable[[str], Awaitable[None] | None]] = {
    "stop": stop_app,
    "": lambda _: None,
    "async": sleep_in_loop,
    "async-in": sleep_in,
    "async-later": sleep_later,
    "async-longer-later": sleep_longer_later,
    "block": block,
    "block-in": block_in,
    "block-first": block_first,
    "async-block": block_in_loop,
    "block-cleanup": block_and_clean_up,
    "block-raise": block_and_fail,
    "hold-shared": hold_shared,
    "take-shared": take_shared,
    "async-cleanup": clean_up_in_loop,
    "hold_gil": hold_gil,
    "spin": spin,
    "socket": block_on_a_socket,
    "lock": block_on_a_lock,
    "regex": backtrack,
    "swallow": swallow,
    "swallow-thread": swallow_beside_a_thread,
    "async-swallow": swallow_in_loop,
    "async-thread": wait_for_a_thread,
    "deaf": deaf,
    "mask": mask,
    "mask-all": mask_all,
    "block-signals": block_signals,
    "raise": fail,
    "raise-cancelled": cancel,
    "raise-interrupt": interrupt,
    "raise-in": fail_in,
    "raise-once": fail_once,
    "raise-later": fail_later,
    "sys.exit": leave_quietly,
    "os._exit": drop_dead,
    "trap": trap,
    "reap": reap,
    "log-slowly": log_slowly,
    "take-signal": take_signal,
    "close-all": close_all,
    "close-all-and-open": close_all_and_open,
    "garbage": write_garbage,
    "flood": flood,
    "log": log_badly,
    "setsid": leave_session,
    "chdir": lambda _: os.chdir("/"),
    "lose-directory": lose_directory,
    "setrlimit": limit_itself,
    "use-up-pids": use_up_pids,
    "setuid": become_nobody,
    "setuid-alone": become_nobody_alone,
    "ignore-children": ignore_children,
}


def act(action: str) -> Awaitable[None] | None:
    """Do what `name:seconds` says."""
    name, _, seconds = action.partition(":")
    return ACTIONS[name](seconds)


async def perform(action: str) -> None:
    result = act(action)
    if result is not None:
        await result


# -- the app --------------------------------------------------------------------------------------


class WorkingFormatter(JSONFormatter):
    """Sanic's own for Python 3.13 and later: there a `partial` in a class is, or is to be, a
    method."""

    dumps = staticmethod(json_dumps)


JSON_FORMATTER = JSONFormatter if sys.version_info < (3, 13) else WorkingFormatter
JSON_LOG = {
    **LOGGING_CONFIG_DEFAULTS,
    "formatters": {"generic": {"()": JSON_FORMATTER}, "access": {"()": JSON_FORMATTER}},
}
LOG_FILE = {
    "class": "logging.FileHandler",
    "filename": f"{os.environ['EVENTS']}.log",
    "formatter": "json",
}
TWO_LOGS = {
    **LOGGING_CONFIG_DEFAULTS,
    "formatters": {**LOGGING_CONFIG_DEFAULTS["formatters"], "json": {"()": JSON_FORMATTER}},
    "handlers": {**LOGGING_CONFIG_DEFAULTS["handlers"], "file": LOG_FILE},
    "loggers": {
        name: {**one, "handlers": [*one["handlers"], "file"]}
        for name, one in LOGGING_CONFIG_DEFAULTS["loggers"].items()
    },
}
"""Text on the console, and objects in a file."""

LOGS: dict[str, dict[str, Any] | None] = {
    "": None,
    "json": JSON_LOG,
    "own keys": JSON_LOG,
    "two": TWO_LOGS,
}


def with_own_keys(*arguments: Any, **keywords: Any) -> logging.LogRecord:
    """A record with keys of the user's own, two of which the Reaper has too."""
    record = logging.LogRecord(*arguments, **keywords)
    record.worker, record.pid = "of the user", 0
    return record


def build(name: str = "Subject") -> Sanic:
    Sanic.start_method = SUBJECT["method"]
    if SUBJECT["log"] == "own keys":
        logging.setLogRecordFactory(with_own_keys)
    app: Sanic = Sanic(
        name,
        log_config=LOGS[SUBJECT["log"]],
        inspector_class=OwnInspector if SUBJECT["own_inspector"] else None,
    )
    if SUBJECT["threshold"]:
        from sanic.worker.manager import WorkerManager

        WorkerManager.THRESHOLD = SUBJECT["threshold"]
    settings = {**SUBJECT["config"]}
    late = {key: settings.pop(key) for key in [*settings] if key.startswith("REAPER_")}
    app.config.update(settings)
    extend(app)
    app.config.update(late)  # keys may be set until the server starts
    app.main_process_start(prepare_main)
    app.main_process_ready(introduce_main)
    if SUBJECT["children_first"]:
        app.before_server_start(start_children)
    for event in LISTENERS:
        app.listener(event)(decorated(event, listener(event)))
    for number, action in enumerate(SUBJECT["extra_work"]):
        app.before_server_start(extra_work(f"extra_{number}", action))
    if not SUBJECT["children_first"]:
        app.before_server_start(start_children)
    app.before_server_start(succeed)
    if SUBJECT["dies"]:
        app.after_server_start(lambda _: die_some_time(DEATHS[SUBJECT["dies"]]))
    add_routes(app)
    if SUBJECT["only_the_watchdog"]:
        from sanic_reaper.worker import stopping

        stopping.WATCHDOG_GRACE = 600.0
    if SUBJECT["other_names"]:
        from sanic_reaper.compat import sanic_server

        sanic_server.Http = sanic_server.Stage = object  # type: ignore[assignment,misc]
    if SUBJECT["replace_not_ready"]:
        from sanic_reaper import NotReady

        app.exception(NotReady)(lambda request, error: text("patience", status=429))
    return app


class OwnInspector(Inspector):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.word = "mine"

    def own(self) -> str:
        return self.word

    def dump(self, *_: str) -> str:
        return "an older command of that name"


def extend(app: Sanic) -> None:
    how = SUBJECT["reaper"]
    if not how or how == "in main alone":  # which `app.py` does
        return
    if "COVERAGE_PROCESS_CONFIG" in os.environ:
        from sanic_reaper.main import watchdog_process

        # The watchdog knows only the standard library: by `site` it is measured as well.
        watchdog_process._COMMAND = [word for word in watchdog_process._COMMAND if word != "-S"]
    if SUBJECT["late_watchdog"]:
        from sanic_reaper.main import watchdog_process

        watchdog_process._COMMAND.insert(0, f"{os.environ['EVENTS']}.starter")
    from sanic_reaper import Reaper

    if SUBJECT["on_event"]:
        app.extend(extensions=[Reaper(on_event=hear)])
        app.ctx.reaper.on("worker.died")(lambda event: emit("death noted", of=event.pid))
    elif how == "instance":
        app.extend(extensions=[Reaper()])
    elif how == "register":
        from sanic_ext import Extend

        Extend.register(Reaper)
        app.extend()
    elif how == "after another":
        app.extend(built_in_extensions=False)
        app.extend(extensions=[Reaper])
    elif how == "after use":
        app.ext.dependency(object())
        app.extend(extensions=[Reaper])
    elif how == "without AUTO_EXTEND":
        app.config.AUTO_EXTEND = False
        app.extend(extensions=[Reaper])
    elif how == "attached":
        Reaper.attach(app)
        app.extend(built_in_extensions=False)
    elif how == "twice":
        app.extend(extensions=[Reaper, Reaper()])
        Reaper.attach(app)
    elif how == "in a listener":
        app.main_process_start(lambda app: app.extend(extensions=[Reaper]) and None)
    elif how == "registered alone":
        from sanic_ext import Extend

        Extend.register(Reaper)
    else:
        app.extend(extensions=[Reaper])


def hear(event: Any) -> None:
    emit(event.name, of=event.pid, whose=event.process, reason=event.reason, cause=event.cause)
    if SUBJECT["on_event"] != "note":
        act(SUBJECT["on_event"])


def listener(event: str) -> Callable[[Sanic], Any]:
    action = SUBJECT["listeners"].get(event, "")

    async def listen(app: Sanic) -> None:
        emit(event)
        await perform(action)
        emit(f"{event} done")

    def listen_blocking(app: Sanic) -> None:
        emit(event)
        act(action)
        emit(f"{event} done")

    return listen if action.startswith("async") else listen_blocking


def extra_work(name: str, action: str) -> Callable[[Sanic], Any]:
    from sanic_reaper import background

    async def work_in_loop(app: Sanic) -> None:
        await perform(action)

    def work(app: Sanic) -> None:
        act(action)

    work = work_in_loop if action.startswith("async") else work
    work.__qualname__ = name
    return background(work)


def decorated(event: str, listener: Callable[[Sanic], Any]) -> Callable[[Sanic], Any]:
    """The listener with what the subject says of the handlers of its event."""
    how = SUBJECT["decorate"] if event == SUBJECT["decorate_event"] else {}
    if not how:
        return listener
    import sanic_reaper

    for decorator, arguments in how.items():
        listener = getattr(sanic_reaper, decorator)(*arguments[0], **arguments[1])(listener)
    return listener


def prepare_main(app: Sanic) -> None:
    if SUBJECT["thread"]:
        Thread(target=time.sleep, args=(600,), name=SUBJECT["thread"], daemon=True).start()
    # SIGUSR1: main ends as a bug in a C extension would end it, without any clean-up.
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(OS_EXIT_CODE))
    for kind in SUBJECT["main_children"]:
        CHILDREN[kind]()


def introduce_main(app: Sanic) -> None:
    """Say who main's helpers are, and when it has seen every worker's ack.

    Plain Sanic loses a stop signal that comes before that, so a control must know.
    """
    manager = app.manager
    if SUBJECT["late"]:
        os.register_at_fork(after_in_child=outlive_parent)
    # SIGUSR2: pass on what the test has to say to the manager, whatever state the workers are in.
    signal.signal(signal.SIGUSR2, lambda *_: manager.monitor_publisher.send(read_order()))
    if SUBJECT["busy_main"]:
        be_busy_after_the_first()
    if SUBJECT["manage"]:
        manager.manage(SUBJECT["manage_name"], custom_process, {}, transient=SUBJECT["transient"])
    sync_manager = manager.worker_state._manager._process  # type: ignore[attr-defined]
    emit("sync manager", of=identity(sync_manager))
    wait_for_ack = manager.wait_for_ack

    def wait_and_say_so() -> None:
        wait_for_ack()
        emit("all acked", family={child.name: identity(child) for child in active_children()})
        if SUBJECT["in_thread"]:
            use_thread(manager)
        if SUBJECT["successor_stops"]:
            from sanic_reaper.main import watchdog_process

            # Not before main has told it everything, which would make it go on.
            watchdog_process._COMMAND[:0] = ["sh", "-c", 'sleep 0.3; kill -STOP $$; exec "$0" "$@"']

    manager.wait_for_ack = wait_and_say_so  # type: ignore[method-assign]


def be_busy_after_the_first() -> None:
    """As where there are hundreds to start."""
    from sanic.worker.process import WorkerProcess

    start = WorkerProcess.start

    def start_and_be_busy(process: WorkerProcess, *args: Any) -> None:
        start(process, *args)
        if process.name == "Sanic-Server-0-0":
            time.sleep(SUBJECT["busy_main"])
            emit("busy no more")

    WorkerProcess.start = start_and_be_busy  # type: ignore[method-assign]


def outlive_parent() -> None:
    parent = os.getppid()
    emit("holding")
    while os.getppid() == parent:
        time.sleep(0.01)


def read_order() -> str:
    with open(f"{os.environ['EVENTS']}.order") as order:
        return order.read()


THREADS: dict[str, Callable[[Any], None]] = {
    "restart": lambda manager: manager.restart(),
    "scale": lambda manager: manager.scale(2 * SUBJECT["workers"]),
}


def use_thread(manager: Any) -> None:
    """Have workers started by a thread that ends when they serve.

    Main waits for their start: Sanic's manager is not made to be used by two threads at once.
    """
    started = Event()
    enough = 2 * SUBJECT["workers"]

    def start_workers() -> None:
        try:
            THREADS[SUBJECT["in_thread"]](manager)
        finally:
            started.set()
        while count("after_server_start done") < enough:
            time.sleep(0.05)
        emit("thread ends")

    Thread(target=start_workers, daemon=True).start()
    started.wait()


def identity(process: Any) -> tuple[int, int]:
    return process.pid, start_of(process.pid)


def custom_process() -> None:
    work = SUBJECT["manage"]
    if work == "handler":
        signal.signal(signal.SIGINT, leave_custom_process)
    if work == "ignoring":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    emit("custom process")
    if work in ("handler", "careless", "ignoring"):
        time.sleep(600)
    elif isinstance(work, str):
        CHILDREN[work]()
    else:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            emit("custom process interrupted")


TIMES_ASKED = itertools.count()


def leave_custom_process(signum: int, frame: object) -> None:
    """Leave once: another SystemExit would interrupt the interpreter's own cleaning up."""
    first = next(TIMES_ASKED) == 0
    emit("custom process interrupted")
    if first:
        sys.exit()


def start_children(app: Sanic) -> None:
    for kind in SUBJECT["children"]:
        CHILDREN[kind]()
        emit("child started", kind=kind)


async def succeed(app: Sanic) -> None:
    if SUBJECT["successor"] and count("all acked"):
        emit("successor")
        await perform(SUBJECT["successor"])


DEATHS: dict[str, Callable[[], None]] = {
    "exit": lambda: os._exit(3),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
}


def die_some_time(die: Callable[[], None]) -> None:
    timer = Timer(random.uniform(0.1, 2.0), die)
    timer.daemon = True
    timer.start()


def add_routes(app: Sanic) -> None:
    @app.get("/")
    async def who(request: Request) -> HTTPResponse:
        return text(str(os.getpid()))

    @app.get("/do/<action:str>")
    async def do(request: Request, action: str) -> HTTPResponse:
        emit("request")
        await perform(action)
        return text("done")

    @app.get("/stream/<seconds:float>")
    async def stream(request: Request, seconds: float) -> None:
        response = await request.respond()
        await response.send("be")
        emit("request")
        await asyncio.sleep(seconds)
        await response.send("gun")

    @app.websocket("/echo")
    async def echo(request: Request, socket: Any) -> None:
        async for message in socket:
            await socket.send(message)

    @app.get("/task/<seconds:float>")
    async def task(request: Request, seconds: float) -> HTTPResponse:
        app.add_task(clean_up_in_loop(str(seconds)), name="cleaning")
        return text("done")

    @app.get("/health", ctx_reaper_exempt=True)
    async def health(request: Request) -> HTTPResponse:
        return text(f"ready: {app.ctx.reaper.ready}")

    @app.get("/middleware", ctx_reaper_exempt=True)
    async def middleware(request: Request) -> HTTPResponse:
        return text(str(sum(len(route.extra.request_middleware) for route in app.router.routes)))

    @app.get("/startup", ctx_reaper_exempt=True)
    async def startup(request: Request) -> HTTPResponse:
        return json_response([record._asdict() for record in app.ctx.reaper.startup], default=str)

    @app.get("/imported/<module:str>")
    async def imported(request: Request, module: str) -> HTTPResponse:
        return text(str(module in sys.modules))

    if SUBJECT["own_route"]:
        app.add_route(who, SUBJECT["own_route"], name="own")

    @app.get("/share")
    async def share(request: Request) -> HTTPResponse:
        app.m.state["shared"] = sys.modules["__mp_main__"].Shared()
        return text(type(app.m.state["shared"]).__name__)

    @app.get("/states")
    async def states(request: Request) -> HTTPResponse:
        return json_response({name: info["state"] for name, info in app.m.workers.items()})

    @app.get("/workers")
    async def workers(request: Request) -> HTTPResponse:
        return json_response(app.m.workers, default=str)

    @app.get("/start/<kind:str>")
    async def start(request: Request, kind: str) -> HTTPResponse:
        CHILDREN[kind]()
        return text("done")

    @app.get("/restart")
    async def restart(request: Request) -> HTTPResponse:
        app.m.restart("__ALL_PROCESSES__")
        return text("done")

    @app.get("/restart-without-downtime")
    async def restart_without_downtime(request: Request) -> HTTPResponse:
        app.m.restart(all_workers=True, zero_downtime=True)
        return text("done")

    @app.get("/scale/<number:int>")
    async def scale(request: Request, number: int) -> HTTPResponse:
        app.m.scale(number)
        return text("done")

    @app.get("/terminate")
    async def terminate(request: Request) -> HTTPResponse:
        app.m.terminate()
        return text("done")


def in_server_worker() -> bool:
    return multiprocessing.current_process().name.startswith("Sanic-Server-")


def note_import() -> None:
    """Called wherever the app is imported, main included."""
    emit("imported")
    if in_server_worker():
        emit("importing")
        act(SUBJECT["importing"])
    elif multiprocessing.parent_process() is None:
        if SUBJECT["trap"]:
            trap(SUBJECT["trap"])
        if SUBJECT["at_exit"]:
            main = os.getpid()
            atexit.register(lambda: os.getpid() == main and act(SUBJECT["at_exit"]))
