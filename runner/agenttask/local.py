"""`agenttask run FILE --store …`: the same task without a cluster, in this terminal.

The same log, the same fencing: running it again resumes, and a second process fences the first. A run's uid is `local`;
each fresh one after it gets the next number.

Ctrl-C: what is in flight ends and is recorded, however long it takes; once more: it is given up, and that is recorded
unless the store is silent; a third time: the process ends, as a crash would end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shlex
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, Protocol

import msgspec

from agenttask.agent.state import State
from agenttask.agent.stop import Stop, StopRequested
from agenttask.clock import Clock, SystemClock
from agenttask.contract import (
    CONTRACT,
    Assignment,
    Budget,
    Exit,
    ForkedFrom,
    Location,
    Model,
    Outcome,
    ResumeFrom,
    TaskSpec,
    is_met,
    log_prefix,
    origin,
    other_store,
)
from agenttask.endings import Ending, of_error
from agenttask.errors import Absent, AgentTaskError, SpecInvalid, TooLarge
from agenttask.journal import restore
from agenttask.lines import Lines, PlainLines
from agenttask.live import Live
from agenttask.log import Patience, read
from agenttask.manifest import Manifest, load
from agenttask.preconditions import check, refuse_other_prompt
from agenttask.process import listen, no_longer_listen, surroundings
from agenttask.program.child import Home
from agenttask.run import run_attempt
from agenttask.status_api import NoStatus
from agenttask.store import Store, open_store
from agenttask.store.address import location_of

ENV_BASE_URL: Final = "AGENTTASK_MODEL_BASE_URL"
ENV_MODEL: Final = "AGENTTASK_MODEL_NAME"
UID: Final = "local"
NAMESPACE: Final = "local"
STDERR: Final = 2
INTERRUPTED: Final = 130
"""Exit code of shells for what a Ctrl-C has ended at once."""


@dataclass(frozen=True, kw_only=True)
class LocalRun:
    """Which run of a manifest is meant."""

    manifest: Manifest
    location: Location
    fresh: bool


class OpenStore(Protocol):
    """As `agenttask.store.open_store`."""

    def __call__(self, location: Location, *, verify: Literal["Checksum", "ReadBack"]) -> Store: ...


def run_file(*, path: Path, store: str, fresh: bool, open_store: OpenStore = open_store) -> int:
    """Run the task in a file: answer on stdout, progress on stderr; the exit code.

    The codes are `Exit`'s, or those of the task's program; but a run that failed for good gives 1: shells know nothing
    of messages.
    """
    again = f"to go on: {shlex.join(['agenttask', 'run', str(path), '--store', store])}\n"
    try:
        manifest, location = load(path), location_of(store, environment=os.environ)
        run = LocalRun(manifest=manifest, location=location, fresh=fresh)
        opened = open_store(location, verify=manifest.spec.checkpoint.verify)
        return asyncio.run(_run(run, store=opened, again=again))
    except AgentTaskError as error:
        sys.stderr.write(f"{error}\n")
        return int(of_error(error).exit)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; {again}")
        return INTERRUPTED


async def _run(run: LocalRun, *, store: Store, again: str) -> int:
    """Run it, and say what came of it; the exit code. `again` says how to go on."""
    clock = SystemClock()
    live = _live(clock, max_steps=run.manifest.spec.budget.steps)
    lines: Lines = live or PlainLines(out=sys.stderr)
    stop = Stop(grace_seconds=math.inf, clock=clock)
    listen(lambda: interrupted(stop, lines=lines))
    try:
        async with live.shown() if live else contextlib.nullcontext():
            ending = await _attempt(run, store=store, clock=clock, stop=stop, lines=lines, live=live)
    except StopRequested as error:
        sys.stderr.write(f"{error}\n")
        ending = of_error(error)
    if ending.exit in {Exit.STOPPED, Exit.PARKED, Exit.UNAVAILABLE}:
        sys.stderr.write(again)
    if ending.answer:
        sys.stdout.write(ending.answer.rstrip("\n") + "\n")
    code = 1 if ending.outcome is Outcome.FAILED else ending.exit
    if stop.overdue:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # Python would wait for a thread that waits for a silent store
    return code


def _live(clock: Clock, *, max_steps: int) -> Live | None:
    """The progress, if there is a terminal that can show it."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None
    return Live(out=sys.stderr, clock=clock, max_steps=max_steps)


def interrupted(stop: Stop, *, lines: Lines) -> None:
    """Somebody has pressed Ctrl-C, or sent a SIGTERM."""
    if stop.requested:
        lines.say("stopping", message="at once; what is in flight is given up")
        no_longer_listen()
    else:
        lines.say("stopping", message="as soon as what is in flight is done and recorded; once more: at once")
    stop.request()


async def _attempt(run: LocalRun, *, store: Store, clock: Clock, stop: Stop, lines: Lines, live: Live | None) -> Ending:
    with code_of(run.manifest) as code, _home_of(run.manifest) as home:
        around = surroundings(
            store=store,
            pod_uid=f"{UID}-{uuid.uuid4()}",
            clock=clock,
            stop=stop,
            lines=lines,
            witnesses=(live,) if live else (),
            status=NoStatus(),
            code=code,
            home=home,
            prompt=prompt_of(run.manifest),
        )
        finding_out = assign(run=run, store=store, clock=clock, environment=os.environ)
        assignment = await stop.bound(finding_out, calling=False)
        return await run_attempt(assignment=assignment, around=around)


@contextlib.contextmanager
def _home_of(manifest: Manifest) -> Iterator[Home | None]:
    """A place for the task's program, if it has one; standard output is for the answer alone."""
    if manifest.spec.command is None:
        yield None
        return
    with TemporaryDirectory(prefix="agenttask-") as folder:
        yield Home(root=Path(folder), out=STDERR)


@contextlib.contextmanager
def code_of(manifest: Manifest) -> Iterator[str | None]:
    """A folder with the task's modules, as its pod would have it; None if it has none."""
    if manifest.spec.code is None:
        yield None
        return
    name = manifest.spec.code.config_map_ref.name
    if name not in manifest.config_maps:
        raise SpecInvalid(f"spec.code.configMapRef: there is no ConfigMap {name} beside the task in its file")
    with TemporaryDirectory(prefix="agenttask-code-") as folder:
        for file, text in manifest.config_maps[name].items():
            (Path(folder) / file).write_text(text)
        yield folder


def prompt_of(manifest: Manifest) -> str | None:
    """The prompt in a ConfigMap that stands beside the task."""
    if (source := manifest.spec.prompt_from) is None:
        return None
    ref = source.config_map_key_ref
    return manifest.config_maps.get(ref.name, {}).get(ref.key)


def with_model(spec: TaskSpec, *, environment: Mapping[str, str]) -> TaskSpec:
    """The spec with the model of the environment, if it names none itself: what the chart's default is to a cluster."""
    base_url, name = environment.get(ENV_BASE_URL), environment.get(ENV_MODEL)
    if spec.command is not None or spec.agent.model is not None or not base_url or not name:
        return spec
    agent = msgspec.structs.replace(spec.agent, model=Model(base_url=base_url, name=name))
    return msgspec.structs.replace(spec, agent=agent)


async def assign(*, run: LocalRun, store: Store, clock: Clock, environment: Mapping[str, str]) -> Assignment:
    """The next attempt of this run: one above the newest claim in its log.

    Raises `SpecInvalid` if the log was started with another prompt, and what reading a log raises.
    """
    manifest = run.manifest
    namespace = manifest.namespace or NAMESPACE
    runs = _Runs(store=store, location=run.location, namespace=namespace, name=manifest.name)
    uid = await runs.newest(fresh=run.fresh)
    found = await read(store=store, prefix=runs.prefix(uid), clock=clock, patience=Patience())
    state = restore(base=found.base, records=found.records)
    if state.started:
        try:
            refuse_other_prompt(state=state, prompt=manifest.spec.prompt)
        except SpecInvalid as error:
            raise SpecInvalid(f"{error}; start a new one with --fresh") from error
    assignment = Assignment(
        contract=CONTRACT,
        namespace=namespace,
        name=manifest.name,
        uid=uid,
        attempt=1 + found.newest_attempt,
        location=run.location,
        spec=with_model(manifest.spec, environment=environment),
        # Who runs it again says thereby that the process before is over.
        unreported=(),
        met_park=_met_park(state, budget=manifest.spec.budget, clock=clock),
        forked_from=await _forked_from(runs, resume=manifest.spec.resume_from, clock=clock) if not found.head else None,
    )
    if assignment.spec.agent.model is None and assignment.spec.command is None:
        raise SpecInvalid(f"no model: set spec.agent.model, or {ENV_BASE_URL} and {ENV_MODEL}")
    check(assignment)
    return assignment


def _met_park(state: State, *, budget: Budget, clock: Clock) -> int | None:
    """Where the run is parked, if what it waits for has come about: here nobody else judges that."""
    if state.wait is None or not is_met(state.wait.parked.wake, budget=budget, now=clock.now()):
        return None
    return state.wait.seq


async def _forked_from(runs: _Runs, *, resume: ResumeFrom | None, clock: Clock) -> ForkedFrom | None:
    """What a fork goes on from: in the store of this run, and of the newest run of a task that is only named."""
    if resume is None:
        return None
    if (resume.task is None) == (resume.location is None):
        raise SpecInvalid("spec.resumeFrom: exactly one of task and location must be set")
    place, key = resume.location or runs.location, resume.key
    if difference := other_store(place, runs.location):
        raise SpecInvalid(f"spec.resumeFrom.location is not the store of this run: {difference}")
    if resume.task is not None and key is None:
        named = replace(runs, name=resume.task)
        prefix = named.prefix(await named.newest(fresh=False))
        newest = (await read(store=runs.store, prefix=prefix, clock=clock, patience=Patience())).tip
        if newest is None:
            raise SpecInvalid(f"spec.resumeFrom.task: there is no run of {resume.task} in this store")
        key = newest.key
    found = origin(key or "", prefix=place.prefix, namespace=runs.namespace)
    if found is None or resume.task not in (None, found.task):
        folder = log_prefix(prefix=place.prefix, namespace=runs.namespace, name=resume.task or "<task>", uid="<uid>")
        raise SpecInvalid(f"spec.resumeFrom.key must be {folder}/log/<12 digits>, and is {key}")
    return found


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """The runs of one task in a store, told apart by uid."""

    store: Store
    location: Location
    namespace: str
    name: str

    def prefix(self, uid: str) -> str:
        return log_prefix(prefix=self.location.prefix, namespace=self.namespace, name=self.name, uid=uid)

    async def newest(self, *, fresh: bool) -> str:
        """The uid of the newest run, or of the one after it."""
        number = 1
        while await self._exists(_uid(number)):
            number += 1
        return _uid(number if fresh else max(1, number - 1))

    async def _exists(self, uid: str) -> bool:
        """A run's record 1 is a claim, and those stay for ever."""
        try:
            await self.store.get(f"{self.prefix(uid)}/log/{1:012d}", max_bytes=1)
        except Absent:
            return False
        except TooLarge:
            return True
        return True


def _uid(number: int) -> str:
    return UID if number == 1 else f"{UID}-{number}"
