"""Builders for tests of the checkpoint log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest
from agenttask.clock import ManualClock
from agenttask.log import Holder, Log, Opened, Patience, Policy, Recorded
from agenttask.store import Store

PREFIX = "ns/task/uid"


class Open(Protocol):
    """Opens the log of the test's task with good defaults."""

    def __call__(
        self,
        store: Store,
        *,
        attempt: int = 1,
        pod: str | None = None,
        process: str = "p",
        recorded: int | None = None,
        clock: ManualClock | None = None,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        **more: Any,
    ) -> Awaitable[Opened]: ...


@pytest.fixture
def key() -> Callable[[int], str]:
    """The key of a record."""
    return lambda seq: f"{PREFIX}/log/{seq:012d}"


@pytest.fixture
def open_log(key: Callable[[int], str]) -> Open:
    async def opened(
        store: Store,
        *,
        attempt: int = 1,
        pod: str | None = None,
        process: str = "p",
        recorded: int | None = None,
        clock: ManualClock | None = None,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        **more: Any,
    ) -> Opened:
        return await Log.open(
            store=store,
            prefix=PREFIX,
            task="ns/task",
            attempt=attempt,
            holder=Holder(pod_uid=pod or f"pod-{attempt}", process=process),
            recorded=None if recorded is None else Recorded(key=key(recorded), seq=recorded),
            clock=clock or ManualClock(),
            patience=Patience(jitter=lambda: 0.0),
            policy=policy,
            **more,
        )

    return opened
