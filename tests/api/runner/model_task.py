"""A task in this process: its model and its tools are real servers, its log is in memory, and its waits are short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import httpx
from agenttask.agent.events import Event, ModelSwitched, Replied, Stopped, Try
from agenttask.agent.state import State
from agenttask.agent.stop import Stop
from agenttask.clock import SystemClock
from agenttask.contract import (
    CONTRACT,
    Agent,
    Assignment,
    Budget,
    HttpTool,
    Location,
    Model,
    TaskSpec,
    Tool,
    log_prefix,
)
from agenttask.endings import Ending
from agenttask.journal import events_of, restore
from agenttask.log import Holder, Patience, Restored, read
from agenttask.run import Surroundings, run_attempt
from agenttask.store.memory import MemoryStore

from tests.e2e.harness.model import Call, Fault, Reply, ScriptedModel, calls, says_sum
from tests.e2e.harness.tools import ToolServer, Use, number_of
from tests.unit.agent.conftest import Said, StatusBoard

KEY = "sk-very-secret"
TRIED = Replied | ModelSwitched | Stopped


class ShortClock(SystemClock):
    """Waits a hundredth of what it is asked to, and keeps what that was."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await super().sleep(seconds / 100)


@dataclass(kw_only=True)
class ModelTask:
    """A task of `turns` turns: a tool call in each but the last, and an answer that is wrong if a result is missing."""

    name: str
    model: Model
    scripted: ScriptedModel
    tools: ToolServer
    turns: int = 3
    secrets: Mapping[str, str] = field(default_factory=lambda: {"AGENTTASK_MODEL_API_KEY": KEY})
    clock: ShortClock = field(default_factory=ShortClock)
    board: StatusBoard = field(default_factory=StatusBoard)
    said: Said = field(default_factory=Said)
    objects: dict[str, bytes] = field(default_factory=dict)
    transport: httpx.AsyncBaseTransport | None = None

    def script(self, *, model: str | None = None, faults: Mapping[int, Fault] | None = None) -> None:
        """What a model of the chain answers."""
        replies: Sequence[Reply] = [*(calls(("number", {"n": n})) for n in range(1, self.turns)), says_sum()]
        self.scripted.script(model or self.name, replies, faults=faults)

    async def run(self, attempt: int = 1) -> Ending:
        """One attempt."""
        tool = Tool(name="number", recovery="Idempotent", http=HttpTool(url=self.tools.url(task=self.name)))
        assignment = Assignment(
            contract=CONTRACT,
            namespace="ns",
            name=self.name,
            uid="uid",
            attempt=attempt,
            location=Location(type="filesystem"),
            spec=TaskSpec(prompt="Add up.", agent=Agent(model=self.model, tools=(tool,)), budget=Budget(steps=50)),
        )
        around = Surroundings(
            store=MemoryStore(self.objects),
            holder=Holder(pod_uid=f"pod-{attempt}", process="p"),
            clock=self.clock,
            random=Random(1),
            stop=Stop(grace_seconds=30, clock=self.clock),
            lines=self.said,
            status=self.board,
            environment=self.secrets,
            transport=self.transport,
        )
        return await run_attempt(assignment=assignment, around=around)

    @property
    def answer(self) -> str:
        """What is right."""
        return f"The sum is {sum(number_of(n) for n in range(1, self.turns))}."

    @property
    def uses(self) -> list[Use]:
        """What the tool was asked."""
        return self.tools.uses(task=self.name)

    def asked(self, model: str | None = None) -> list[Call]:
        """aimock's journal of one model."""
        return self.scripted.journal(model or self.name)

    async def events(self) -> list[Event]:
        """All that was recorded."""
        return [event for record in (await self._found()).records for event in events_of(record)]

    async def failed(self) -> list[Try]:
        """The tries that gave no reply."""
        return [one for event in await self.events() if isinstance(event, TRIED) for one in event.failed]

    async def state(self) -> State:
        found = await self._found()
        return restore(base=found.base, records=found.records)

    async def _found(self) -> Restored:
        prefix = log_prefix(prefix="", namespace="ns", name=self.name, uid="uid")
        store = MemoryStore(self.objects)
        return await read(store=store, prefix=prefix, clock=self.clock, patience=Patience())
