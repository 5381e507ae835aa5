"""The log: one JSON object a line, with the task, attempt and reason that it is about."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from agenttask_operator import logs
from agenttask_operator.settings import Log


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    stream = io.StringIO()
    logs.configure(Log(), handler=logging.StreamHandler(stream))
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


async def test_a_line_says_which_task_attempt_and_reason_it_is_about(written: io.StringIO) -> None:
    async def work(task: str) -> None:
        logs.begin(namespace="agents", task=task)
        logging.getLogger("other.library").warning("Before.")
        await asyncio.sleep(0)
        logs.about(attempt=3, reason="Evicted")
        logging.getLogger("agenttask_operator.x").info("%s is so.", task)

    await asyncio.gather(work("first"), work("second"))
    told = [(one["level"], one["logger"], one["task"], one.get("attempt"), one.get("reason")) for one in lines(written)]
    assert told == [
        ("WARNING", "other.library", "first", None, None),
        ("WARNING", "other.library", "second", None, None),
        ("INFO", "agenttask_operator.x", "first", 3, "Evicted"),
        ("INFO", "agenttask_operator.x", "second", 3, "Evicted"),
    ]
    assert all(one["time"].endswith("+00:00") and one["namespace"] == "agents" for one in lines(written))


async def test_what_a_line_says_itself_wins(written: io.StringIO) -> None:
    async def work() -> None:
        logs.begin(namespace="agents", task="first")
        logs.about(attempt=3, reason="Working")
        logging.getLogger("x").info("It has ended.", extra={"reason": "Completed"})

    await asyncio.create_task(work())
    (line,) = lines(written)
    assert (line["attempt"], line["reason"]) == (3, "Completed")


async def test_the_next_task_of_a_worker_inherits_nothing(written: io.StringIO) -> None:
    async def work() -> None:
        logs.begin(namespace="agents", task="first")
        logs.about(attempt=3, reason="Evicted")
        logs.begin(namespace="agents", task="second")
        logging.info("It is so.")

    await asyncio.create_task(work())
    (line,) = lines(written)
    assert (line["task"], "attempt" in line, "reason" in line) == ("second", False, False)


def test_a_traceback_is_one_line(written: io.StringIO) -> None:
    try:
        int("bad")
    except ValueError:
        logging.exception("It failed.")
    (line,) = lines(written)
    assert "ValueError: invalid literal" in line["exc_info"]


def test_text_is_for_people() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        logs.configure(Log(format="text", level="warning"), handler=logging.StreamHandler(stream))
        logging.info("Not this.")
        logging.warning("But this.")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert stream.getvalue().endswith("WARNING root But this.\n")
    assert "Not this" not in stream.getvalue()
