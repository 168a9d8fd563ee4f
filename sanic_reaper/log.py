"""Where the Reaper's lines go: through Sanic's own logger, with a prefix.

A logger of our own was rejected: `sanic.reaper` has no handler, and `sanic.root.reaper` makes
sanic-ext's background Logger fail, which knows the configured names only.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from sanic.log import logger as _logger


class _Prefix(logging.LoggerAdapter):  # type: ignore[type-arg]  # generic at runtime from 3.11
    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return f"[reaper] {msg}", kwargs


log = _Prefix(_logger, {})
