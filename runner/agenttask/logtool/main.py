"""From a command line to an exit code; the one place of the tools where an error becomes one."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Final

from agenttask.clock import SystemClock
from agenttask.errors import (
    AgentTaskError,
    CheckpointCorrupt,
    CheckpointLost,
    Denied,
    FolderUnusable,
    FormatTooNew,
    Misconfigured,
    NotFound,
    SpecInvalid,
    Unavailable,
)
from agenttask.log import Patience
from agenttask.logtool import cluster
from agenttask.logtool.commands import COMMANDS
from agenttask.logtool.desk import Desk, UsageError
from agenttask.logtool.place import Place, of_address
from agenttask.logtool.screen import Screen

EXIT_NOT_WHOLE: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNAVAILABLE: Final = 69
EXIT_INTERNAL: Final = 70
EXIT_CONFIG: Final = 78
EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141

_FORWARD: Final = "\n(a store that only the cluster reaches: kubectl port-forward, then --endpoint with that address)"

_EXITS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (UsageError, EXIT_USAGE),
    (CheckpointCorrupt, EXIT_NOT_WHOLE),
    (CheckpointLost, EXIT_NOT_WHOLE),
    (FolderUnusable, EXIT_NOT_WHOLE),
    (FormatTooNew, EXIT_CONFIG),
    (Unavailable, EXIT_UNAVAILABLE),
    (Denied, EXIT_CONFIG),
    (NotFound, EXIT_CONFIG),
    (Misconfigured, EXIT_CONFIG),
    (SpecInvalid, EXIT_CONFIG),
)


def run(
    arguments: argparse.Namespace, *, environment: Mapping[str, str] = os.environ, kubectl: cluster.Run = cluster.run
) -> int:
    """One command; the exit code."""
    screen = Screen(out=sys.stdout, err=sys.stderr)
    try:
        place = _place(arguments, environment=environment, kubectl=kubectl)
        code = asyncio.run(_command(arguments, place=place, screen=screen))
        sys.stdout.flush()
    except KeyboardInterrupt:
        screen.clear()
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the answer has enough of it, and Python must not say so again when it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except (AgentTaskError, UsageError) as error:
        inside = isinstance(error, Unavailable) and arguments.namespace is not None and arguments.endpoint is None
        screen.warn(f"{error}{_FORWARD if inside else ''}")
        return next((code for kind, code in _EXITS if isinstance(error, kind)), EXIT_INTERNAL)
    except Exception:
        screen.warn(traceback.format_exc())
        return EXIT_INTERNAL
    return code


def _place(arguments: argparse.Namespace, *, environment: Mapping[str, str], kubectl: cluster.Run) -> Place:
    if arguments.namespace is None:
        if arguments.context is not None:
            raise UsageError("--context is for a task of a cluster: give its namespace with -n")
        place = of_address(arguments.place, environment=environment)
    else:
        asked = cluster.Kubectl(namespace=arguments.namespace, context=arguments.context, run=kubectl)
        place = cluster.of_task(
            kubectl=asked, namespace=arguments.namespace, name=arguments.place, environment=environment
        )
    return place if arguments.endpoint is None else place.by(arguments.endpoint)


async def _command(arguments: argparse.Namespace, *, place: Place, screen: Screen) -> int:
    clock, patience = SystemClock(), Patience()
    store = place.open()
    desk = Desk(
        place=place,
        store=store,
        patient=patience.over(store, clock=clock),
        screen=screen,
        clock=clock,
        patience=patience,
        output=arguments.output,
        at=getattr(arguments, "at", None),
        full=getattr(arguments, "full", False),
        keep_last=getattr(arguments, "keep_last", None),
        yes=getattr(arguments, "yes", False),
        files=getattr(arguments, "files", None),
    )
    try:
        return await COMMANDS[arguments.verb](desk)
    finally:
        await store.close()
