"""What a task has used, whatever it went through: by the model's journal, not by the runner's word."""

from __future__ import annotations

import random

from tests.e2e.conftest import Start, Witnesses
from tests.e2e.harness.kube import Api, Kind
from tests.e2e.harness.model import out_of_quota
from tests.e2e.harness.tasks import TWELVE_STEPS, Task, twelve_answer, twelve_replies
from tests.e2e.harness.wait import pause, until

KILLS = 5
THINKING_SECONDS = 0.5
WAIT_SECONDS = 5


def used(turn: int) -> dict[str, int]:
    """What the provider says of a turn: different for each, so that a wrong sum shows."""
    return {"prompt_tokens": 100 + turn, "completion_tokens": 10 * turn + 1, "total_tokens": 110 + 11 * turn}


def kill_during_a_call(task: Task, *, witness: Witnesses, api: Api, chance: random.Random) -> None:
    """Take the pod away while it waits for the model, one or two calls from now, and wait for the next attempt."""
    attempt = task.status()["attempt"]
    point = witness.model.begun(task.model) + chance.randrange(1, 3)
    until(
        lambda: witness.model.begun(task.model) >= point,
        what=f"model call {point}",
        within_seconds=60,
        seen=task.describe,
    )
    pause(seconds=chance.uniform(0, THINKING_SECONDS / 2))
    api.delete(Kind.POD, task.pod()["metadata"]["name"], namespace=task.namespace, grace_seconds=0)
    task.wait_attempt(attempt + 1)


def test_after_a_used_up_quota_and_five_kills_usage_is_the_sum_over_distinct_calls_and_lost_ones_are_shown_apart(
    start: Start, witness: Witnesses, api: Api, chance: random.Random
) -> None:
    task = start(
        "thrifty",
        [{**reply, "usage": used(turn)} for turn, reply in enumerate(twelve_replies())],
        delay_seconds=THINKING_SECONDS,
        faults={1: out_of_quota(seconds=WAIT_SECONDS)},
    )

    parked = task.wait(phase="Checkpointed", reason="ModelQuotaExhausted", what="is parked", within_seconds=60)
    assert "You exceeded your current quota." in parked["message"]
    task.wait_attempt(2)
    for _ in range(KILLS):
        kill_during_a_call(task, witness=witness, api=api, chance=chance)
    status = task.wait_finished(within_seconds=90)

    assert (status["phase"], status["result"]["answer"]) == ("Completed", twelve_answer())
    assert (status["attempt"], status["counts"]["disruptions"]) == (2 + KILLS, KILLS)
    turns = {call.turn for call in witness.model.journal(task.model) if call.status == 200}
    assert turns == set(range(TWELVE_STEPS))
    usage = status["usage"]
    assert usage["modelCalls"] == TWELVE_STEPS
    assert usage["promptTokens"] == sum(used(turn)["prompt_tokens"] for turn in turns)
    assert usage["completionTokens"] == sum(used(turn)["completion_tokens"] for turn in turns)
    answered = [call.turn for call in witness.model.journal(task.model) if call.status == 200]
    # A call may be lost before it is even sent: nobody knows, so it counts.
    assert len(answered) - TWELVE_STEPS <= usage["repeatedModelCalls"] <= KILLS
    assert usage["repeatedModelCalls"] >= 1
    assert usage["lost"]["promptTokens"] > 0
