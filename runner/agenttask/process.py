"""What the process brings to an attempt: its signals, its environment, its randomness, its clock."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
from typing import Final

from agenttask.agent.stop import Stop
from agenttask.clock import SystemClock
from agenttask.contract import ENV_GRACE_SECONDS
from agenttask.lines import Lines
from agenttask.log import Holder
from agenttask.run import Surroundings
from agenttask.status_api import StatusApi
from agenttask.store import Store

DEFAULT_GRACE_SECONDS: Final = 30.0


def surroundings(
    *,
    store: Store,
    pod_uid: str,
    clock: SystemClock,
    lines: Lines,
    status: StatusApi,
    code: str | None,
    prompt: str | None,
) -> Surroundings:
    """Everything an attempt needs beside its assignment. Must be called inside the event loop, which it makes listen.

    SIGTERM and SIGINT stop the attempt; a second one ends its grace.
    """
    stop = Stop(grace_seconds=_grace_seconds(), clock=clock)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.request)
    return Surroundings(
        store=store,
        holder=Holder(pod_uid=pod_uid, process=secrets.token_hex(8)),
        clock=clock,
        random=random.Random(),  # noqa: S311 - spreads retries, keeps no secret
        stop=stop,
        lines=lines,
        status=status,
        environment=os.environ,
        code=code,
        prompt=prompt,
    )


def _grace_seconds() -> float:
    try:
        return float(os.environ.get(ENV_GRACE_SECONDS, DEFAULT_GRACE_SECONDS))
    except ValueError:
        return DEFAULT_GRACE_SECONDS
