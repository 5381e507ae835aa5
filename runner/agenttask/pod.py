"""`agenttask attempt`: what runs in a runner pod. Assignment in, exit code and termination message out.

`agenttask.purge` is the other thing that runs in one, and shares the way in and out.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from agenttask.contract import CODE_DIR, ENV_GRACE_SECONDS, ENV_POD_UID, PROMPT_PATH, Assignment
from agenttask.endings import Ending, encode_termination, of_error
from agenttask.errors import AgentTaskError, SpecInvalid
from agenttask.store import Store, open_store

if TYPE_CHECKING:
    from agenttask.status_api import StatusApi

DEFAULT_GRACE_SECONDS: Final = 30.0
_PR_SET_DUMPABLE: Final = 4
_Early = list[int]
"""Signals that came before the event loop listened."""


def attempt(*, assignment_path: Path, token_dir: Path, program_dir: Path, termination_path: Path) -> int:
    """Run one attempt; the exit code. The termination message is written whatever happens."""
    _close_memory()
    early: _Early = []
    # Process 1 of a container does not even hear a signal that it has no handler for.
    signal.signal(signal.SIGTERM, lambda number, _: early.append(number))
    return ended(
        assignment_path=assignment_path,
        termination_path=termination_path,
        work=lambda assignment: _opened(assignment, token_dir=token_dir, program_dir=program_dir, early=early),
    )


def ended(*, assignment_path: Path, termination_path: Path, work: Callable[[Assignment], Ending]) -> int:
    """Do what the assignment is for and leave the termination message; the exit code."""
    number = 0
    try:
        assignment = _read(assignment_path)
        number = assignment.attempt
        ending = work(assignment)
    except AgentTaskError as error:
        ending = of_error(error)
        sys.stderr.write(f"{error}\n")
    except Exception as error:
        ending = of_error(error)
        traceback.print_exc()
    if not ending.own_words:
        return ending.exit
    try:
        termination_path.write_bytes(encode_termination(ending=ending, attempt=number))
    except OSError as error:
        sys.stderr.write(f"the termination message could not be written: {error}\n")
    return ending.exit


def pod_uid() -> str:
    """This pod's UID. Raises `SpecInvalid` outside of one."""
    if not (found := os.environ.get(ENV_POD_UID)):
        raise SpecInvalid(f"{ENV_POD_UID} is not set")
    return found


def _close_memory() -> None:
    """Keep tools and programs, which run as the same user, from our memory and environment in /proc: keys are there."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


def _read(path: Path) -> Assignment:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Assignment)
    except (OSError, msgspec.MsgspecError) as error:
        raise SpecInvalid(f"the assignment {path} cannot be read: {error}") from error


def _opened(assignment: Assignment, *, token_dir: Path, program_dir: Path, early: _Early) -> Ending:
    # Its client is made in a thread, while the modules below are imported.
    store = open_store(assignment.location, verify=assignment.spec.checkpoint.verify)
    return asyncio.run(_run(assignment, store=store, token_dir=token_dir, program_dir=program_dir, early=early))


async def _run(assignment: Assignment, *, store: Store, token_dir: Path, program_dir: Path, early: _Early) -> Ending:
    from agenttask.agent.stop import Stop  # noqa: PLC0415
    from agenttask.clock import SystemClock  # noqa: PLC0415
    from agenttask.lines import JsonLines  # noqa: PLC0415
    from agenttask.process import listen, surroundings  # noqa: PLC0415
    from agenttask.program.child import Home  # noqa: PLC0415
    from agenttask.run import run_attempt  # noqa: PLC0415

    clock = SystemClock()
    stop = Stop(grace_seconds=_grace_seconds(), clock=clock)
    listen(stop.request)
    around = surroundings(
        store=store,
        pod_uid=pod_uid(),
        clock=clock,
        stop=stop,
        lines=JsonLines(out=sys.stdout, clock=clock, attempt=assignment.attempt),
        status=_status(assignment, token_dir=token_dir),
        code=CODE_DIR if assignment.spec.code is not None else None,
        home=Home(root=program_dir) if assignment.spec.command is not None else None,
        prompt=_prompt(Path(PROMPT_PATH)) if assignment.spec.prompt_from is not None else None,
    )
    if early:
        stop.request()
    return await run_attempt(assignment=assignment, around=around)


def _grace_seconds() -> float:
    try:
        return float(os.environ.get(ENV_GRACE_SECONDS, DEFAULT_GRACE_SECONDS))
    except ValueError:
        return DEFAULT_GRACE_SECONDS


def _prompt(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise SpecInvalid(f"the prompt of spec.promptFrom cannot be read: {error}") from error


def _status(assignment: Assignment, *, token_dir: Path) -> StatusApi:
    from agenttask.status_api import KubernetesStatus, NoStatus  # noqa: PLC0415

    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return NoStatus()
    return KubernetesStatus(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        token_dir=token_dir,
        namespace=assignment.namespace,
        name=assignment.name,
    )
