"""A task of several steps, the world around it, and ways to disturb it; no network, no disk, no waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, Literal

import httpx
import msgspec
import pytest
from agenttask.agent.state import State
from agenttask.agent.stop import Stop
from agenttask.clock import ManualClock
from agenttask.contract import (
    CONTRACT,
    ENV_MODEL_API_KEY,
    Agent,
    Assignment,
    Budget,
    Checkpoint,
    Fallback,
    ForkedFrom,
    HttpTool,
    Location,
    Model,
    Output,
    Price,
    PromptFrom,
    ResumeFrom,
    RunnerStatus,
    TaskSpec,
    Tool,
    log_prefix,
)
from agenttask.endings import Ending
from agenttask.journal import restore
from agenttask.log import Holder, Patience, Restored, read
from agenttask.run import Surroundings, run_attempt
from agenttask.status_api import Answer
from agenttask.store import Store
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

KEY = "sk-very-secret"
PRICE = Price(input=Decimal(1), output=Decimal(2))
PROMPT = "Add the numbers up."
PREFIX = log_prefix(prefix="p", namespace="ns", name="task", uid="uid")

Handler = Callable[[httpx.Request], Awaitable[httpx.Response | None]]


class Killed(BaseException):
    """The process is gone: nothing catches this."""


async def kill(_: httpx.Request) -> httpx.Response | None:
    """A handler in which the process dies."""
    raise Killed


def at_call(number: int, then: Handler) -> Handler:
    """A handler that acts at one call and lets the others pass."""
    seen = 0

    async def handle(request: httpx.Request) -> httpx.Response | None:
        nonlocal seen
        seen += 1
        return await then(request) if seen == number else None

    return handle


@dataclass
class World:
    """The model and the tool as a task meets them, and everything they were asked.

    The model asks for `turns - 1` tool calls, `width` at a time, and then names the sum of all results. Its replies
    depend on the conversation alone, so a repeated call gets the same one.
    """

    turns: int = 4
    width: int = 1
    model_calls: list[bytes] = field(default_factory=list)
    tool_calls: list[tuple[str, str]] = field(default_factory=list)
    """Idempotency key and body of each tool request."""
    effects: list[tuple[str, str]] = field(default_factory=list)
    """Those that did something."""
    before_model: Handler | None = None
    """May answer in the model's stead, or raise."""
    before_tool: Handler | None = None
    after_tool: Handler | None = None
    """The tool has taken effect, but nobody knows it yet."""
    probes: list[str] = field(default_factory=list)
    """Idempotency key of each question whether a call took effect; the answer is the truth."""
    probe_says: httpx.Response | None = None
    """The answer instead."""
    one_id: bool = False
    """The model gives all its calls the same id."""

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "tool.test":
            return await self._use(request)
        if request.url.host == "probe.test":
            key = request.headers["idempotency-key"]
            self.probes.append(key)
            done = [body for used, body in self.effects if used == key]
            answer = {"done": True, "result": msgspec.json.decode(done[0])["n"]} if done else {"done": False}
            return self.probe_says or httpx.Response(200, json=answer)
        self.model_calls.append(request.content)
        instead = await self.before_model(request) if self.before_model else None
        return instead or httpx.Response(200, json=self._reply(msgspec.json.decode(request.content)))

    async def _use(self, request: httpx.Request) -> httpx.Response:
        use = (request.headers["idempotency-key"], request.content.decode())
        self.tool_calls.append(use)
        instead = await self.before_tool(request) if self.before_tool else None
        if instead is None:
            self.effects.append(use)
        instead = instead or (await self.after_tool(request) if self.after_tool else None)
        return instead or httpx.Response(200, text=str(msgspec.json.decode(request.content)["n"]))

    def repeated_model_calls(self) -> int:
        """How many requests were made more than once."""
        return len(self.model_calls) - len(set(self.model_calls))

    def repeated_tool_calls(self) -> int:
        return len(self.tool_calls) - len(set(self.tool_calls))

    def answer(self) -> str:
        """What an undisturbed run says in the end."""
        return f"The sum is {sum(range(self.width * (self.turns - 1)))}."

    def _reply(self, request: dict[str, Any]) -> dict[str, Any]:
        turn = sum(message["role"] == "assistant" for message in request["messages"])
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        if turn >= self.turns - 1:
            results = [message["content"] for message in request["messages"] if message["role"] == "tool"]
            total = sum(int(result) for result in results if result.strip().isdigit())
            message: dict[str, Any] = {"role": "assistant", "content": f"The sum is {total}."}
            return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage, "model": "m"}
        numbers = range(turn * self.width, (turn + 1) * self.width)
        calls = [
            {
                "id": "call_0" if self.one_id else f"call_{i}",
                "type": "function",
                "function": {"name": "echo", "arguments": f'{{"n": {n}}}'},
            }
            for i, n in enumerate(numbers)
        ]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        return {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage, "model": "m"}


class StatusBoard:
    """Keeps what was reported; answers from a list, then with yes."""

    def __init__(self) -> None:
        self.reported: list[RunnerStatus] = []
        self.answers: list[Answer] = []

    async def apply(self, status: RunnerStatus) -> tuple[Answer, str]:
        answer = self.answers.pop(0) if self.answers else Answer.ACCEPTED
        if answer is Answer.ACCEPTED:
            self.reported.append(status)
        return answer, f"answered {answer.value}"

    async def close(self) -> None:
        return None


@dataclass
class Said:
    """Lines, kept."""

    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def say(self, event: str, **facts: Any) -> None:
        self.lines.append((event, facts))


@dataclass
class Attempts:
    """Runs attempts of one task, one after the other or side by side, on one bucket."""

    world: World = field(default_factory=World)
    objects: dict[str, bytes] = field(default_factory=dict)
    board: StatusBoard = field(default_factory=StatusBoard)
    said: Said = field(default_factory=Said)
    clock: ManualClock = field(default_factory=ManualClock)
    uid: str = "uid"
    prompt: str | None = PROMPT
    prompt_from: PromptFrom | None = None
    prompts: dict[str, str] = field(default_factory=dict)
    """The ConfigMap with the prompt."""
    resume_from: ResumeFrom | None = None
    forked_from: ForkedFrom | None = None
    system_prompt: str | None = None
    tool: Tool = field(
        default_factory=lambda: Tool(name="echo", recovery="Idempotent", http=HttpTool(url="http://tool.test/echo"))
    )
    output: Output = field(default_factory=Output)
    finish: Literal["Reply", "Tool"] = "Reply"
    tool_choice: Literal["Auto", "Required", "None"] = "Auto"
    price: Price | None = PRICE
    fallbacks: tuple[Fallback, ...] = ()
    context_tokens: int | None = None
    budget: Budget = field(default_factory=Budget)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    recorded: tuple[str, int] | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: {ENV_MODEL_API_KEY: KEY})
    unreported: tuple[int, ...] | None = ()
    met_park: int | None = None

    def assignment(self, *, number: int) -> Assignment:
        return Assignment(
            contract=CONTRACT,
            namespace="ns",
            name="task",
            uid=self.uid,
            attempt=number,
            location=Location(type="filesystem", prefix="p"),
            spec=TaskSpec(
                prompt=self.prompt,
                prompt_from=self.prompt_from,
                resume_from=self.resume_from,
                agent=Agent(
                    system_prompt=self.system_prompt,
                    model=Model(base_url="http://model.test/v1", name="m", price=self.price, fallbacks=self.fallbacks),
                    tools=(self.tool,),
                    output=self.output,
                    context_tokens=self.context_tokens,
                    finish=self.finish,
                    tool_choice=self.tool_choice,
                ),
                budget=self.budget,
                checkpoint=self.checkpoint,
            ),
            recorded_key=self.recorded[0] if self.recorded else None,
            recorded_seq=self.recorded[1] if self.recorded else None,
            unreported=self.unreported,
            met_park=self.met_park,
            forked_from=self.forked_from,
        )

    def stop(self, *, grace_seconds: float = 30) -> Stop:
        return Stop(grace_seconds=grace_seconds, clock=self.clock)

    async def run(self, number: int, *, store: Store | None = None, stop: Stop | None = None) -> Ending:
        """One attempt in a pod of its own."""
        around = Surroundings(
            store=store or MemoryStore(self.objects),
            holder=Holder(pod_uid=f"pod-{number}", process="p"),
            clock=self.clock,
            random=Random(1),
            stop=stop or self.stop(),
            lines=self.said,
            status=self.board,
            environment=self.environment,
            prompt=self.prompts.get("prompt"),
            transport=httpx.MockTransport(self.world.handle),
        )
        return await run_attempt(assignment=self.assignment(number=number), around=around)

    def dying(self, *, at: int, landed: bool) -> FaultyStore:
        """The bucket of a process that is gone from this call of it on, which has `landed` or not; with 0 it lives."""

        async def before(call: Call) -> Fault:
            if call.number >= at > 0 and not landed:
                raise Killed
            return Fault.NONE

        async def after(call: Call) -> None:
            if call.number >= at > 0 and landed:
                raise Killed

        return FaultyStore(MemoryStore(self.objects), before=before, after=after)

    async def log(self, *, at: int | None = None) -> Restored:
        """What the log of this task holds."""
        prefix = log_prefix(prefix="p", namespace="ns", name="task", uid=self.uid)
        return await read(store=MemoryStore(self.objects), prefix=prefix, clock=self.clock, patience=Patience(), at=at)

    async def state(self) -> State:
        """The state its next attempt would go on from."""
        found = await self.log()
        return restore(base=found.base, records=found.records)


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()
