"""What a task has used, whatever it went through: by the model's journal, not by the runner's word."""

from __future__ import annotations

import random

import pytest
from agenttask.contract import ENV_POD_UID

from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind
from tests.e2e.harness.model import ScriptedModel
from tests.e2e.harness.processes import kill, with_environment
from tests.e2e.harness.tasks import TWELVE_STEPS, Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import until

KILLS = 5


def used(turn: int) -> dict[str, int]:
    """What the provider says of a turn: different for each, so that a wrong sum shows."""
    return {"prompt_tokens": 100 + turn, "completion_tokens": 10 * turn + 1, "total_tokens": 110 + 11 * turn}


def kill_during_a_call(task: Task, *, call: int, attempt: int, model: ScriptedModel, api: Api) -> None:
    """Take this attempt's pod away during this call, which is held, and wait for the next attempt."""
    until(lambda: model.begun(task.model) >= call, what=f"model call {call}", seen=task.describe)
    pod = task.pod()["metadata"]
    api.delete(Kind.POD, pod["name"], namespace=task.namespace, grace_seconds=0)
    # The kubelet makes two seconds of the grace of zero, in which the call could be answered.
    kill(with_environment(ENV_POD_UID, pod["uid"]))
    task.wait_claimed(attempt + 1)


@pytest.mark.needs_nodes
def test_after_five_kills_usage_is_the_sum_over_distinct_calls_and_lost_ones_are_shown_apart(
    start: Start, witness: Witnesses, api: Api, chance: random.Random
) -> None:
    replies = [{**reply, "usage": used(turn)} for turn, reply in enumerate(twelve_replies())]
    call = chance.randrange(1, 3)
    task = start("thrifty", replies, hold_after=call - 1)

    for attempt in range(1, KILLS + 1):
        kill_during_a_call(task, call=call, attempt=attempt, model=witness.model, api=api)
        # The first or the second call of the next attempt.
        call += chance.randrange(1, 3)
        witness.model.release(task.model, hold_after=call - 1)
    witness.model.release(task.model)
    status = task.wait_finished()

    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert (status["attempt"], status["counts"]["disruptions"]) == (1 + KILLS, KILLS)
    turns = {call.turn for call in witness.model.journal(task.model) if call.status == 200}
    assert turns == set(range(TWELVE_STEPS))
    usage = status["usage"]
    assert usage["modelCalls"] == TWELVE_STEPS
    assert usage["promptTokens"] == sum(used(turn)["prompt_tokens"] for turn in turns)
    assert usage["completionTokens"] == sum(used(turn)["completion_tokens"] for turn in turns)
    assert sum(witness.model.repeated(task.model).values()) == usage["repeatedModelCalls"] == KILLS
    assert usage["lost"]["promptTokens"] > 0
