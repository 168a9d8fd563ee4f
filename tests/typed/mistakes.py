"""What `mypy --strict` must refuse: each line with a comment, and no other."""

from sanic import Sanic

from sanic_reaper import Reaper, background, detached_envv, startup_timeout  # attr-defined

app = Sanic("Mistaken")


def no_hook(first: int, second: int) -> None: ...


def handler(app: int) -> int:
    return app


Reaper.attach(app, on_event=no_hook)  # arg-type
startup_timeout("30")  # arg-type
background(timeout="long")  # call-overload
background(handler)("app")  # arg-type
Reaper.of(app).redy  # attr-defined
