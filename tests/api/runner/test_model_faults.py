"""What real servers do wrong, done by aimock: each fault is met as its kind asks for, and the task completes."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

import httpx
import pytest
from agenttask import run
from agenttask.agent.events import ModelSwitched, Replied
from agenttask.contract import Exit, Fallback, Model, Outcome, Price
from agenttask.model.chain import SUCCESS_WINDOW
from agenttask.model.client import ModelClient
from agenttask.model.endpoint import Deadlines

from tests.api.runner.model_task import ModelTask
from tests.e2e.harness.model import Fault, ScriptedModel, calls, refuses
from tests.e2e.harness.tools import ToolServer

PRICE = Price(input=Decimal(1), output=Decimal(2))
MakeTask = Callable[..., ModelTask]


@pytest.fixture
def make_task(model: ScriptedModel, tool_server: ToolServer) -> MakeTask:
    def make(*, turns: int = 3, fallbacks: tuple[Fallback, ...] = (), name: str | None = None) -> ModelTask:
        name = name or f"m-{secrets.token_hex(8)}"
        endpoint = Model(base_url=model.base_url, name=name, price=PRICE, fallbacks=fallbacks)
        task = ModelTask(name=name, model=endpoint, scripted=model, tools=tool_server, turns=turns)
        task.script()
        return task

    return make


@dataclass(frozen=True, kw_only=True)
class Case:
    """One fault of the second call: what is said of it, and the wait that follows, in seconds."""

    fault: Fault
    says: str
    waits: tuple[float, float] = (0.5, 1.0)
    timed_out: bool = False
    begun: bool = field(default=False)
    """Whether a reply had begun, which is charged as an estimate."""


STALL_SECONDS = 2
"""How long a stall is waited out in place of a minute; the stall itself lasts several times as long."""
SECOND = {"toolCalls": [{"name": "number", "arguments": '{"n": 2}'}]}
"""The reply to the second call, for faults that change how it comes; aimock takes no object here."""
CUT: Fault = {"response": SECOND, "truncateAfterChunks": 3, "latency": 20}
CASES = {
    "a 429 that says how long": Case(
        fault={"response": {**refuses(429, "slow down"), "retryAfter": 7}}, says="HTTP 429: slow down", waits=(7, 7)
    ),
    "a 500": Case(fault={"response": refuses(500, "oops")}, says="HTTP 500: oops"),
    "a 503": Case(fault={"response": refuses(503, "full")}, says="HTTP 503: full"),
    "a dropped connection": Case(fault={"chaos": {"disconnectRate": 1}}, says="Error"),
    "a server that fails in its middle": Case(fault={"chaos": {"dropRate": 1}}, says="HTTP 500"),
    "a malformed reply": Case(fault={"chaos": {"malformedRate": 1}}, says="not a chat completion"),
    "a truncated stream": Case(fault=CUT, says="RemoteProtocolError", begun=True),
    "a stall between two tokens": Case(
        fault={"response": SECOND, "streamingProfile": {"ttft": 0, "tps": 0.1}, "chunkSize": 1},
        says=f"no token for {STALL_SECONDS} s",
        timed_out=True,
        begun=True,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_the_task_completes_in_spite_of(case: Case, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.timed_out:
        deadlines = Deadlines(between_tokens=STALL_SECONDS)
        monkeypatch.setattr(run, "ModelClient", partial(ModelClient, deadlines=deadlines))
    task = make_task()
    task.script(faults={1: case.fault})
    ending = await task.run()
    assert (ending.exit, ending.outcome, ending.answer) == (Exit.FINAL, Outcome.COMPLETED, task.answer)
    assert [use.n for use in task.uses] == [1, 2]
    (failed,) = await task.failed()
    assert case.says in failed.message
    assert failed.timed_out == case.timed_out
    assert (failed.tokens is not None) == case.begun
    assert any(case.waits[0] <= wait <= case.waits[1] for wait in task.clock.waits)
    usage = task.board.reported[-1].usage
    assert (usage.model_calls, usage.failed_model_calls) == (3, 1)
    assert (usage.lost is not None) == case.begun


async def test_a_429_that_does_not_say_how_long_is_backed_off_from(make_task: MakeTask) -> None:
    class Silent(httpx.AsyncHTTPTransport):
        """aimock always says how long."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            response.headers.pop("retry-after", None)
            return response

    task = make_task()
    task.transport = Silent()
    task.script(faults={1: {"response": {**refuses(429, "slow down"), "retryAfter": 7}}})
    assert (await task.run()).answer == task.answer
    assert 7 not in task.clock.waits
    assert any(0.5 <= wait <= 1.0 for wait in task.clock.waits)


async def test_a_slow_model_is_waited_for_and_its_latency_remembered(make_task: MakeTask) -> None:
    task = make_task()
    task.script(faults={1: {"response": SECOND, "streamingProfile": {"ttft": 300}}})
    assert (await task.run()).answer == task.answer
    assert await task.failed() == []
    state = await task.state()
    assert len(state.latencies[task.name]) == 3
    assert state.latencies[task.name][1] >= 250, "a server's timer may be a little early"


async def test_a_reply_cut_off_in_the_middle_of_a_tool_call_is_not_run(make_task: MakeTask) -> None:
    task = make_task()
    cut = {"toolCalls": [{"name": "number", "arguments": '{"n": 4'}], "finishReason": "length"}
    # Which reply a call gets depends on the replies before it, and the cut one is one of them.
    task.scripted.script(task.name, [calls(("number", {"n": 1})), cut, calls(("number", {"n": 2})), {"sum": True}])
    assert (await task.run()).answer == task.answer
    assert [use.n for use in task.uses] == [1, 2]
    replied = [event for event in await task.events() if isinstance(event, Replied)]
    assert [reply.finish_reason for reply in replied] == ["tool_calls", "length", "tool_calls", "stop"]


async def test_an_overloaded_model_is_left_for_its_fallback_and_asked_again_after_a_while(
    make_task: MakeTask,
) -> None:
    second = f"m-{secrets.token_hex(8)}"
    task = make_task(turns=2 * SUCCESS_WINDOW + 4, fallbacks=(Fallback(name=second, price=PRICE),))
    task.script(model=second)
    overloaded: Fault = {"response": refuses(503, "full")}
    task.script(faults={1: overloaded, 2: overloaded, 3: overloaded})
    ending = await task.run()
    assert (ending.outcome, ending.answer) == (Outcome.COMPLETED, task.answer)
    switches = [event for event in await task.events() if isinstance(event, ModelSwitched)]
    assert [(switch.model, switch.why, len(switch.failed)) for switch in switches] == [
        (second, f"{task.name}: HTTP 503: full", 2),
        (task.name, "it gets another chance", 0),
        (second, f"{task.name}: HTTP 503: full", 1),
        (task.name, "it gets another chance", 0),
    ]
    assert len(task.asked(second)) == 2 * SUCCESS_WINDOW
    assert {status.progress.model for status in task.board.reported} >= {task.name}
    assert [event for event, _ in task.said.lines].count("model-switched") == 4
    assert task.board.reported[-1].usage.failed_model_calls == 3


async def test_a_chain_that_does_not_answer_stalls_and_the_next_attempt_begins_with_the_first_again(
    make_task: MakeTask,
) -> None:
    second = f"m-{secrets.token_hex(8)}"
    task = make_task(fallbacks=(Fallback(name=second, price=PRICE),))
    overloaded: Fault = {"response": refuses(503, "full")}
    task.script(model=second, faults=dict.fromkeys(range(4), overloaded))
    task.script(faults={1: overloaded, 2: overloaded})
    ending = await task.run()
    assert (ending.exit, ending.reason) == (Exit.STALLED, "ModelUnavailable")
    assert f"{second}: no reply in 4 tries; HTTP 503: full" in ending.message
    assert (await task.run(2)).answer == task.answer
    assert [use.n for use in task.uses] == [1, 2]
    assert len(task.asked(second)) == 4
