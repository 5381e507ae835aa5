"""What the process brings to an attempt: its environment, its randomness, its name, and its signals."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
from collections.abc import Callable

from agenttask.agent.stop import Stop
from agenttask.clock import Clock
from agenttask.journal import Witness
from agenttask.lines import Lines
from agenttask.log import Holder
from agenttask.program.child import Home
from agenttask.run import Surroundings
from agenttask.status_api import StatusApi
from agenttask.store import Store


def surroundings(
    *,
    store: Store,
    pod_uid: str,
    clock: Clock,
    stop: Stop,
    lines: Lines,
    witnesses: tuple[Witness, ...] = (),
    status: StatusApi,
    code: str | None,
    home: Home | None,
    prompt: str | None,
) -> Surroundings:
    """Everything an attempt needs beside its assignment."""
    return Surroundings(
        store=store,
        holder=Holder(pod_uid=pod_uid, process=secrets.token_hex(8)),
        clock=clock,
        random=random.Random(),  # noqa: S311 - spreads retries, keeps no secret
        stop=stop,
        lines=lines,
        witnesses=witnesses,
        status=status,
        environment=os.environ,
        code=code,
        home=home,
        prompt=prompt,
    )


def listen(told: Callable[[], None]) -> None:
    """From now on SIGTERM and SIGINT do this and nothing else. Must be called inside the event loop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)


def no_longer_listen() -> None:
    """The next SIGTERM or SIGINT ends the process, whatever it is at: a thread that hangs in a store too."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)  # and no KeyboardInterrupt, which waits for threads
