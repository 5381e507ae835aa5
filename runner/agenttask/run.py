"""One attempt from claim to ending: puts store, log, journal, loop and reporter together, in a pod or anywhere else.

open the log ──final──────────────────────────────┐
    │ claimed                                     ▼
restore ──▶ Started / Reconfigured ──▶ loop ──▶ last status write ──▶ exit 0
                                        │ stop, model trouble: append Stopped ──▶ exit 75, 78
                                        │ something to wait for: append Parked ─▶ exit 76
                                        │ fenced, store trouble ────────────────▶ exit 77, 69, 78
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple

import httpx
import msgspec

from agenttask.agent.checks import check_schemas
from agenttask.agent.events import Ended, Parked, Reconfigured, Started, Stopped, Woken
from agenttask.agent.loop import Loop
from agenttask.agent.output import finish_schema, system_prompt
from agenttask.agent.park import Pausing, parked, pause_of, spoken
from agenttask.agent.result import Caller
from agenttask.agent.settle import Settler
from agenttask.agent.stop import Stop, StopRequested
from agenttask.agent.toolbelt import Toolbelt
from agenttask.agent.toolbelt import opened as opened_tools
from agenttask.agent.tools import told
from agenttask.clock import Clock
from agenttask.contract import EVERY_SECONDS, Agent, Assignment, Model, Tool, log_prefix
from agenttask.endings import Ending, of_error, of_run, of_wait
from agenttask.errors import (
    AgentTaskError,
    ContentCorrupt,
    FolderUnusable,
    InDoubt,
    ProgramFailed,
    SpecInvalid,
    ToolsUnavailable,
)
from agenttask.fork import seed
from agenttask.journal import Journal, Witness, charge, restore
from agenttask.lines import Lines, LineWitness
from agenttask.log import Holder, Log, OnCorruption, Opened, Patience, Policy, Recorded, RecordRef, Seed
from agenttask.model.client import ModelClient
from agenttask.model.failures import Failure, ModelError
from agenttask.model.wire import tool_schema
from agenttask.preconditions import check, has_guarded_tools, refuse_other_prompt
from agenttask.program.child import Home, environment
from agenttask.program.run import ProgramRun
from agenttask.report import Reporter, damage_of
from agenttask.status_api import StatusApi
from agenttask.store import Store


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What an attempt finds around it; none of it is in the task."""

    store: Store
    holder: Holder
    clock: Clock
    random: Random
    stop: Stop
    lines: Lines
    witnesses: tuple[Witness, ...] = ()
    """Whoever else is told what has become durable."""
    status: StatusApi
    environment: Mapping[str, str]
    """The runner's own, with the models' keys; command tools see an allow-list of it, a program all but the keys."""
    code: str | None = None
    """Folder with the modules of `spec.code`."""
    home: Home | None = None
    """Where the program of `spec.command` finds what is its own."""
    prompt: str | None = None
    """What `spec.promptFrom` names, if it is there."""
    transport: httpx.AsyncBaseTransport | None = None
    """What model and HTTP tools are reached through; None: the network."""


async def run_attempt(*, assignment: Assignment, around: Surroundings) -> Ending:
    """Run one attempt. Never raises: whatever ends it is in the `Ending`. Closes store and status."""
    attempt = _Attempt(assignment=assignment, around=around)
    try:
        ending = await attempt.run()
    except Exception as error:  # the one place where a defect becomes an exit code
        ending = replace(of_error(error), head=attempt.head)
        if not isinstance(error, AgentTaskError):
            around.lines.say("defect", traceback=traceback.format_exc())
    finally:
        await around.status.close()
        await around.store.close()
    if ending.newest_attempt is None and attempt.head is not None:
        ending = replace(ending, newest_attempt=assignment.attempt)
    around.lines.say("exit", outcome=str(ending.outcome), reason=str(ending.reason), message=ending.message)
    return ending


class _Attempt:
    def __init__(self, *, assignment: Assignment, around: Surroundings) -> None:
        self._assignment = assignment
        self._spec = assignment.spec
        self._around = around
        self._holder = around.holder
        self._corrupt: frozenset[str] = frozenset()
        self._patience = Patience(given_up=around.stop.past_deadline)
        self._journal: Journal | None = None

    @property
    def head(self) -> RecordRef | None:
        """The newest record of this attempt, once it has claimed."""
        return self._journal.head if self._journal else None

    async def run(self) -> Ending:
        model = check(self._assignment)
        while True:
            self._around.stop.refuse_new_work()
            try:
                return await self._hold(model)
            except ContentCorrupt as error:
                # Found only when it was needed, behind the claim. A claim that leaves it out is made as by the next
                # process of this pod; each time there is less that can turn out to be damaged.
                self._corrupt |= error.keys
                self._around.lines.say("damage", message=str(error))
                process = f"{self._around.random.getrandbits(64):016x}"
                self._holder = msgspec.structs.replace(self._holder, process=process)

    async def _hold(self, model: Model | None) -> Ending:
        """From the claim on."""
        opened = await self._open()
        state = restore(base=opened.restored.base, records=opened.records)
        reporter = self._reporter(opened)
        if opened.final is not None and state.ended is not None:
            reporter.start(state=state, head=opened.final.ref)
            await reporter.finish(sleep=self._around.stop.sleep)
            return of_run(ended=state.ended, head=opened.final.ref)
        if opened.log is None:
            raise AssertionError("a log that is not final was not claimed")
        self._journal = Journal(
            log=opened.log,
            state=state,
            max_steps=self._spec.budget.steps,
            witnesses=(LineWitness(lines=self._around.lines), reporter, *self._around.witnesses),
            every_steps=self._spec.checkpoint.every_steps,
        )
        if state.wait is not None:
            # All before the first report, so that what is reported is newer than the park only if it is past it.
            if state.wait.seq != self._assignment.met_park:
                return await self._park(state.wait.parked, journal=self._journal, reporter=reporter)
            await self._journal.commit(Woken(time=spoken(self._around.clock.now())))
        reporter.start(state=self._journal.state, head=self._journal.head)
        try:
            return await self._work(model=model, journal=self._journal, reporter=reporter)
        finally:
            await reporter.close()

    async def _open(self) -> Opened:
        task = self._assignment
        recorded = None
        if task.recorded_key is not None and task.recorded_seq is not None:
            recorded = Recorded(key=task.recorded_key, seq=task.recorded_seq)
        opened = await Log.open(
            store=self._around.store,
            prefix=log_prefix(prefix=task.location.prefix, namespace=task.namespace, name=task.name, uid=task.uid),
            task=f"{task.namespace}/{task.name}",
            attempt=task.attempt,
            holder=self._holder,
            recorded=recorded,
            clock=self._around.clock,
            patience=self._patience,
            max_steps=self._spec.budget.steps,
            policy=Policy(
                keep_last=self._spec.checkpoint.keep_last,
                on_corruption=OnCorruption(self._spec.checkpoint.on_corruption),
            ),
            charge=partial(charge, guarded=has_guarded_tools(self._spec.agent)),
            seed=self._seed if self._spec.resume_from is not None else None,
            corrupt=self._corrupt,
            warn=lambda words: self._around.lines.say("store", message=words),
        )
        self._say_damage(opened)
        parent = opened.resumed_from
        self._around.lines.say(
            "final" if opened.final else "claimed",
            records=len(opened.records),
            resumedFrom=parent.key if parent else None,
        )
        return opened

    async def _seed(self) -> Seed:
        """What this fork begins with, asked for only as long as its log is empty."""
        origin = self._assignment.forked_from
        if origin is None:
            raise SpecInvalid("spec.resumeFrom was not resolved to a record")
        self._around.lines.say("forking", key=origin.key)
        return await seed(
            store=self._around.store,
            origin=origin,
            spec=self._spec,
            prompt=self._prompt(),
            clock=self._around.clock,
            patience=self._patience,
        )

    def _prompt(self) -> str | None:
        """The prompt, wherever it is; needed once, before anything has begun."""
        if (source := self._spec.prompt_from) is None:
            return self._spec.prompt
        if not (self._around.prompt or "").strip():
            ref = source.config_map_key_ref
            raise SpecInvalid(f"spec.promptFrom: there is no ConfigMap {ref.name} with a prompt as {ref.key}")
        return self._around.prompt

    def _reporter(self, opened: Opened) -> Reporter:
        return Reporter(
            api=self._around.status,
            max_steps=opened.final.max_steps if opened.final else self._spec.budget.steps,
            resumed_from=opened.resumed_from.key if opened.resumed_from else None,
            damage=damage_of(opened.claim),
            clock=self._around.clock,
            on_trouble=lambda words: self._around.lines.say("status-refused", message=words),
        )

    async def _work(self, *, model: Model | None, journal: Journal, reporter: Reporter) -> Ending:
        stop = self._around.stop
        try:
            if model is None:
                ended = await self._run_program(journal=journal, reporter=reporter)
            else:
                ended = await self._run_agent(model=model, journal=journal, reporter=reporter)
        except _SAID as error:
            pause = pause_of(error, state=journal.state, jitter=self._around.random.random())
            if pause is not None:
                event = parked(pause, now=self._around.clock.now())
                return await self._park(event, journal=journal, reporter=reporter)
            calling = isinstance(error, StopRequested) and error.calling
            tried = error.failed if isinstance(error, ModelError) else ()
            await journal.commit(Stopped(reason=of_error(error).reason, calling=calling, failed=tried))
            await reporter.flush()
            raise
        await reporter.finish(sleep=stop.sleep)
        return of_run(ended=ended, head=journal.head)

    async def _run_agent(self, *, model: Model, journal: Journal, reporter: Reporter) -> Ended:
        if journal.state.program is not None:
            raise SpecInvalid("this run was started with spec.command, and is none of an agent")
        async with self._tools() as belt:
            await self._begin(journal, belt)
            async with self._loop(model=model, journal=journal, belt=belt, reporter=reporter) as loop:
                return await loop.run()

    async def _run_program(self, *, journal: Journal, reporter: Reporter) -> Ended:
        around = self._around
        if around.home is None or self._spec.command is None:
            raise AssertionError("a program needs a command, and a place")
        if not journal.state.started:
            await journal.commit(Started(prompt=self._prompt() or "", program=True))
        refuse_other_prompt(state=journal.state, prompt=self._spec.prompt)
        state = journal.state
        if state.program is None:
            raise SpecInvalid("this run was started without spec.command, and is none of a program")
        run = ProgramRun(
            command=self._spec.command,
            env=environment(
                inherited=around.environment,
                told=told(self._caller),
                home=around.home,
                prompt=state.prompt,
                resumed=bool(state.program.items),
                code=around.code,
            ),
            home=around.home,
            every_seconds=self._spec.checkpoint.every_seconds or EVERY_SECONDS,
            journal=journal,
            stop=around.stop,
            clock=around.clock,
            lines=around.lines,
            on_news=reporter.heard,
        )
        return await run.run()

    @property
    def _caller(self) -> Caller:
        task = self._assignment
        return Caller(namespace=task.namespace, name=task.name, uid=task.uid, attempt=task.attempt)

    async def _park(self, event: Parked, *, journal: Journal, reporter: Reporter) -> Ending:
        await journal.commit(event)
        await reporter.flush()
        if journal.state.wait is None:
            raise AssertionError("parked, and not waiting")
        return of_wait(wait=journal.state.wait, head=journal.head)

    async def _begin(self, journal: Journal, belt: Toolbelt) -> None:
        """Freeze what shapes requests, or note how the task was edited since."""
        state, agent = journal.state, self._spec.agent
        shape = shape_of(agent, tools=belt.tools)
        if not state.started:
            check_schemas(agent)
            await journal.commit(Started(prompt=self._prompt() or "", **shape._asdict()))
            return
        refuse_other_prompt(state=state, prompt=self._spec.prompt)
        if (state.system_prompt, state.tools, state.finish) != shape:
            check_schemas(agent)
            await journal.commit(Reconfigured(**shape._asdict()))

    def _tools(self) -> contextlib.AbstractAsyncContextManager[Toolbelt]:
        around = self._around
        return opened_tools(
            self._spec.agent,
            caller=self._caller,
            inherited=around.environment,
            code=around.code,
            transport=around.transport,
            stop=around.stop,
        )

    @contextlib.asynccontextmanager
    async def _loop(self, *, model: Model, journal: Journal, belt: Toolbelt, reporter: Reporter) -> AsyncIterator[Loop]:
        task, around = self._assignment, self._around
        client = ModelClient(
            model=model,
            secrets=around.environment,
            clock=around.clock,
            random=around.random,
            sleep=around.stop.sleep,
            on_retry=partial(self._say_retry, reporter),
            transport=around.transport,
        )
        settler = Settler(
            ledger=journal,
            prober=belt,
            tools={tool.name: tool for tool in belt.tools},
            attempt=task.attempt,
            unreported=task.unreported,
        )
        try:
            yield Loop(
                steps=journal,
                model=client,
                tools=belt,
                settler=settler,
                guarded=belt.guarded,
                sleeps={tool.name: tool.sleep.max_seconds for tool in self._spec.agent.tools if tool.sleep},
                agent=self._spec.agent,
                budget=self._spec.budget,
                stop=around.stop,
                clock=around.clock,
            )
        finally:
            await client.close()

    def _say_damage(self, opened: Opened) -> None:
        if (damage := damage_of(opened.claim)) is not None:
            event = "rewound" if damage.lost_records else "damage"
            self._around.lines.say(event, message=damage.message, lostRecords=damage.lost_records)

    def _say_retry(self, reporter: Reporter, model: str, failure: Failure, wait_seconds: float) -> None:
        self._around.lines.say("retry", model=model, message=failure.message, waitSeconds=round(wait_seconds, 1))
        reporter.note(f"asking {model} again in {wait_seconds:.0f} s: {failure.message}")


_SAID: Final = (
    StopRequested,
    ModelError,
    InDoubt,
    SpecInvalid,
    ToolsUnavailable,
    ProgramFailed,
    FolderUnusable,
    Pausing,
)
"""Ends of an attempt that it records itself: the log is its own, and takes one more record."""


class Shape(NamedTuple):
    """What of an agent shapes every request."""

    system_prompt: str | None
    tools: tuple[dict[str, Any], ...]
    finish: bool


def shape_of(agent: Agent, *, tools: Sequence[Tool]) -> Shape:
    """As the first attempt sends it, and every later one until the task is edited."""
    schemas = [tool_schema(tool) for tool in tools]
    finish = agent.finish == "Tool"
    if finish:
        schemas.append(finish_schema(agent.output))
    return Shape(system_prompt=system_prompt(agent), tools=tuple(schemas), finish=finish)
