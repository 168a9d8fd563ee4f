"""`sanic factory:create_app --factory`: nothing is built by the import."""

from sanic import Sanic
from subject import build, note_import


def create_app() -> Sanic:
    note_import()
    return build()
