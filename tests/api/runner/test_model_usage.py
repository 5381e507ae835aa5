"""What a task has used: the sum over the model's distinct calls, by aimock's journal, however often it was killed."""

from __future__ import annotations

import secrets

from agenttask.agent.state import State
from agenttask.clock import SystemClock
from agenttask.contract import Location, Model
from agenttask.journal import restore
from agenttask.log import Patience, read
from agenttask.store import open_store

from tests.api.runner.conftest import ANSWER, STEPS, Job, MakeJob
from tests.api.runner.local_process import Place
from tests.api.runner.model_task import ModelTask
from tests.e2e.harness.model import Reply, ScriptedModel, calls, says_sum
from tests.e2e.harness.tools import ToolServer

KILLED_DURING = (2, 1, 3, 2, 1)
"""Which model call of each of five attempts is never answered."""


def used(turn: int) -> dict[str, object]:
    """What the provider says of a turn: different for each, so that a wrong sum shows."""
    return {"prompt_tokens": 100 + turn, "completion_tokens": 10 * turn + 1, "total_tokens": 0}


async def state_of(job: Job) -> State:
    """What the job's log says."""
    store = open_store(Location(type="filesystem", path=str(job.folder / "store")))
    found = await read(store=store, prefix=f"local/{job.name}/local", clock=SystemClock(), patience=Patience())
    await store.close()
    return restore(base=found.base, records=found.records)


async def test_usage_is_the_sum_over_distinct_calls_and_lost_calls_are_shown_apart_after_five_kills(
    make_job: MakeJob,
) -> None:
    job = make_job()
    replies: list[Reply] = [*(calls(("number", {"n": n})) for n in range(1, STEPS)), says_sum()]
    job.model.script(job.name, [{**reply, "usage": used(turn)} for turn, reply in enumerate(replies)])
    for number in KILLED_DURING:
        assert job.run(dies=Place("during", number)) < 0
    assert job.run() == 0
    assert job.answer == ANSWER

    state = await state_of(job)
    turns = {call.turn for call in job.model.journal(job.name)}
    assert turns == set(range(STEPS))
    assert state.prompt_tokens == sum(100 + turn for turn in turns)
    assert state.completion_tokens == sum(10 * turn + 1 for turn in turns)
    # A call may be lost before it is even sent: nobody knows, so it counts.
    assert job.repeated() <= state.repeated_model_calls == len(KILLED_DURING)
    assert state.lost_prompt_tokens > 0
    price = (state.prompt_tokens * 1 + state.completion_tokens * 2) / 1_000_000  # see the job's manifest
    assert float(state.cost_usd) == price
    assert 0 < state.lost_cost_usd < state.cost_usd


async def test_what_a_gateway_says_it_charged_is_what_a_call_cost(
    model: ScriptedModel, tool_server: ToolServer
) -> None:
    name = f"m-{secrets.token_hex(8)}"
    gateway = Model(base_url=model.base_url.replace("/v1", "/api/v1"), name=name)
    task = ModelTask(name=name, model=gateway, scripted=model, tools=tool_server, turns=2)
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "cost": 0.00021,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 12},
    }
    model.script(name, [{**calls(("number", {"n": 1})), "usage": usage}, {"content": "done", "usage": usage}])
    assert (await task.run()).answer == "done"
    said = task.board.reported[-1].usage
    assert (said.cost_usd, said.unpriced_model_calls) == ("0.0004", 0)
    assert (said.prompt_tokens, said.cached_tokens, said.completion_tokens, said.reasoning_tokens) == (200, 128, 40, 24)
