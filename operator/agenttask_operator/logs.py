"""How the operator writes its log: one JSON object a line, which says what task it is about.

What a line is about is said once, by whoever takes up a task (`begin`) and finds out more (`about`), and joins all
lines of that worker from then on, those of libraries too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from pythonjsonlogger.json import JsonFormatter

from agenttask_operator.settings import Log

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_NOTHING: Final[Mapping[str, object]] = {}
_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=_NOTHING)


def begin(*, namespace: str, task: str) -> None:
    """From here on this asyncio task works on another AgentTask."""
    _about.set({"namespace": namespace, "task": task})


def about(*, attempt: int, reason: str) -> None:
    """It is at this attempt, and in its phase for this reason."""
    _about.set({**_about.get(), "attempt": attempt, "reason": reason})


class About(logging.Filter):
    """Adds what a line is about; a line's own fields win."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Every line passes."""
        for name, value in _about.get().items():
            record.__dict__.setdefault(name, value)
        return True


def configure(log: Log, *, handler: logging.Handler | None = None) -> None:
    """Set up the process's log; it goes to standard error unless a handler is given."""
    handler = handler or logging.StreamHandler()
    handler.addFilter(About())
    handler.setFormatter(logging.Formatter(_TEXT) if log.format == "text" else _json())
    logging.basicConfig(level=log.level.upper(), handlers=[handler])


def _json() -> JsonFormatter:
    names = {"levelname": "level", "name": "logger"}
    return JsonFormatter("{levelname}{name}{message}", style="{", rename_fields=names, timestamp="time")
