"""What users say of a handler, what is refused at import time, and what a handler is called."""

from __future__ import annotations

import functools
import inspect
import math
from pathlib import Path

import pytest
from sanic import Blueprint, Sanic

from sanic_reaper import StartupTimeout, background, startup_timeout
from sanic_reaper.decorators import refuse_misplaced
from sanic_reaper.untrusted import LONGEST_DURATION
from sanic_reaper.worker.explanations import is_ours, is_user_code
from sanic_reaper.worker.handlers import (
    DecoratedHandler,
    Place,
    describe,
    is_async,
    is_internal,
    options_of,
)


def sync(app):
    return "value"


async def coroutine(app):
    return "value"


def with_loop(app, loop): ...


class Service:
    def method(self, app): ...

    @startup_timeout(3)
    def decorated(self, app):
        return self, app

    def __call__(self, app, loop): ...


@pytest.fixture
def app():
    yield Sanic("Handlers")
    Sanic._app_registry.pop("Handlers")


# -- a decorated function is the function ---------------------------------------------------------


@pytest.mark.parametrize("decorate", [startup_timeout(3), background, background(timeout=3)])
def test_a_decorated_function_is_still_that_function(decorate):
    handler = decorate(sync)
    assert handler(None) == "value"
    assert (handler.__name__, handler.__doc__) == (sync.__name__, sync.__doc__)
    assert inspect.signature(handler) == inspect.signature(sync)


def test_a_decorated_method_is_bound():
    service = Service()
    assert service.decorated("app") == (service, "app")
    assert service.decorated.timeout == 3
    assert isinstance(Service.decorated, DecoratedHandler)


def test_what_was_said_is_kept():
    assert startup_timeout(30)(sync).timeout == 30
    assert startup_timeout(0)(sync).timeout == 0
    assert startup_timeout(2.5)(sync).background is None
    assert background(sync).background == (0.0, True)
    assert background(timeout=300, ready_when_done=False)(sync).background == (300.0, False)


@pytest.mark.parametrize(
    "function",
    [sync, coroutine, with_loop, Service().method, Service(), functools.partial(with_loop, loop=1)],
)
def test_every_kind_of_handler_is_taken(function):
    assert isinstance(startup_timeout(1)(function), DecoratedHandler)
    assert isinstance(background(function), DecoratedHandler)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["x", None, True, [], 1j])
def test_a_limit_that_is_no_number(value):
    with pytest.raises(
        TypeError, match=r"@startup_timeout.*is not a number.*@startup_timeout\(30\)"
    ):
        startup_timeout(value)
    with pytest.raises(TypeError, match="@background"):
        background(timeout=value)


@pytest.mark.parametrize("value", [-1, -0.001, math.inf, math.nan])
def test_a_number_that_is_no_limit(value):
    with pytest.raises(
        ValueError, match=r"@startup_timeout: .* is not a number of seconds, 0 or mor"
    ):
        startup_timeout(value)
    with pytest.raises(ValueError, match="@background"):
        background(timeout=value)


@pytest.mark.parametrize("value", [10**400, 1e300, 1e10])
def test_a_limit_that_no_timer_takes(value):
    """`setitimer` raises OverflowError for it."""
    assert startup_timeout(value)(sync).timeout == LONGEST_DURATION
    assert background(timeout=value)(sync).background == (LONGEST_DURATION, True)


def test_a_function_in_c_that_has_no_signature_is_believed():
    assert startup_timeout(30)(getattr).timeout == 30.0


def test_a_decorator_without_its_seconds():
    with pytest.raises(TypeError, match="the seconds are missing"):
        startup_timeout(sync)


@pytest.mark.parametrize("value", ["handler", None, 3, Service])
@pytest.mark.parametrize("decorate", [startup_timeout(3), background(timeout=3)])
def test_something_that_is_no_handler(decorate, value):
    with pytest.raises(TypeError, match="belongs on a before_server_start handler"):
        decorate(value)


@pytest.mark.parametrize("function", [lambda: None, lambda a, b, c, d: None])
def test_a_function_that_takes_no_app(function):
    with pytest.raises(TypeError, match="a function that takes the app"):
        startup_timeout(3)(function)


@pytest.mark.parametrize("decorate", [startup_timeout(3), background])
def test_the_wrong_order(app, decorate):
    async def load(app): ...

    registered = app.before_server_start(load)
    with pytest.raises(TypeError, match=r"no effect on .*load.* stands above .* put it below"):
        decorate(registered)


@pytest.mark.parametrize("decorate", [startup_timeout(3), background])
def test_the_wrong_order_at_a_blueprint(decorate):
    """Which no app knows yet."""

    async def load(app): ...

    part = Blueprint("part")
    registered = part.before_server_start(load)
    with pytest.raises(TypeError, match=r"no effect on .*load.* stands above .* put it below"):
        decorate(registered)


EVENTS = ["main_process_start", "after_server_start", "before_server_stop", "after_server_stop"]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("of_a_blueprint", [False, True])
def test_the_wrong_event(app, caplog, event, of_a_blueprint):
    blueprint = Blueprint("part")
    (blueprint if of_a_blueprint else app).listener(event)(background(sync))
    app.blueprint(blueprint)
    with pytest.raises(SystemExit) as raised:
        refuse_misplaced()
    assert raised.value.code == 78
    [line] = caplog.messages
    assert "@background has no effect on sync (" in line
    assert f"which is registered as {event}" in line


def test_a_request_handler(app, caplog):
    app.get("/")(startup_timeout(3)(sync))
    with pytest.raises(SystemExit):
        refuse_misplaced()
    assert "@startup_timeout has no effect on sync" in caplog.text
    assert "registered as a request handler" in caplog.text


def test_the_right_event(app):
    blueprint = Blueprint("part")
    blueprint.before_server_start(startup_timeout(3)(sync))
    blueprint.after_server_start(startup_timeout(3)(sync))
    app.listener("before_server_start")(functools.partial(background(sync)))
    app.after_server_start(lambda app: None)
    app.blueprint(blueprint)
    refuse_misplaced()


def test_the_right_order(app):
    async def load(app): ...

    handler = startup_timeout(3)(load)
    assert app.before_server_start(handler) is handler


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (startup_timeout(3), startup_timeout(4)),
        (background, startup_timeout(3)),
        (startup_timeout(3), background),
    ],
)
def test_two_that_contradict_each_other(first, second):
    with pytest.raises(TypeError):
        second(first(sync))


def test_ready_when_done_is_a_yes_or_a_no():
    with pytest.raises(TypeError, match="True or False"):
        background(ready_when_done="no")


# -- names ----------------------------------------------------------------------------------------


def wrapping(function):
    @functools.wraps(function)
    def wrapper(app):
        return function(app)

    return wrapper


@pytest.mark.parametrize(
    ("listener", "name", "function"),
    [
        (sync, "sync", sync),
        (coroutine, "coroutine", coroutine),
        (Service().method, "Service.method", Service.method),
        (Service(), "Service", Service.__call__),
        (functools.partial(with_loop, loop=1), "with_loop", with_loop),
        (functools.partial(functools.partial(sync)), "sync", sync),
        (startup_timeout(3)(sync), "sync", sync),
        (functools.partial(background(sync)), "sync", sync),
        (Service().decorated, "Service.decorated", Service.__dict__["decorated"].__wrapped__),
        (wrapping(sync), "sync", sync),
    ],
)
def test_a_handler_is_called_by_its_own_name_and_line(listener, name, function):
    code = function.__code__
    assert describe(listener) == Place(name, code.co_filename, code.co_firstlineno)


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        (sync, False),
        (coroutine, True),
        (startup_timeout(3)(coroutine), True),
        (functools.partial(background(coroutine)), True),
        (wrapping(coroutine), False),
        (background(wrapping(coroutine)), False),
        (wrapping(background(coroutine)), False),
        (Service(), False),
    ],
)
def test_whether_a_handler_is_a_coroutine_function_is_up_to_what_is_called_first(
    listener, expected
):
    assert is_async(listener) is expected


@pytest.mark.parametrize("decorate", [startup_timeout(3), background])
def test_what_was_said_is_found_beneath_partials_and_wrappers(decorate):
    handler = decorate(sync)
    for listener in (handler, functools.partial(handler), wrapping(handler)):
        assert options_of(listener) is handler
    assert options_of(wrapping(sync)) is None


def test_a_wrapper_of_itself():
    def handler(app): ...

    handler.__wrapped__ = handler
    assert describe(handler).name == "handler"


def test_a_local_function_is_called_without_its_surroundings():
    def local(app): ...

    assert describe(local).name == "local"


def test_a_handler_in_c_has_a_name_and_no_line():
    assert describe(print) == Place("print", "", 0)
    assert str(describe(print)) == "print"


def test_the_message_names_handler_place_and_limit():
    error = StartupTimeout(describe(sync), 2.5, "@startup_timeout(2.5)")
    assert isinstance(error, TimeoutError)
    line = sync.__code__.co_firstlineno
    assert str(error) == (
        f"sync ({__file__}:{line}) has not finished within 2.5 s (@startup_timeout(2.5))"
    )


# -- whose code -----------------------------------------------------------------------------------


def test_whose_code_it_is():
    import asyncio

    import sanic.app

    package = Path(inspect.getfile(DecoratedHandler)).parent
    assert is_user_code(__file__)
    assert is_user_code("/srv/app/main.py")
    assert is_user_code("/srv/app/fast.pyx")
    assert not is_user_code("uvloop/loop.pyx")
    for other in (asyncio.__file__, sanic.app.__file__, "<frozen importlib>", "<string>"):
        assert not is_user_code(other)
    assert is_ours(str(package / "startup.py"))
    assert not is_user_code(str(package / "startup.py"))


def test_sanics_own_listeners_are_not_the_users(app):
    assert is_internal(app.finalize)
    assert is_internal(functools.partial(app.finalize))
    assert not is_internal(sync)
    assert not is_internal(startup_timeout(3)(sync)), "wrapped by us, and still the user's"
