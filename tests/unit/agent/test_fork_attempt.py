"""Whole attempts of a fork: what is copied, when it is copied again, and when nothing is written."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
from agenttask.agent.fork import LEFT_BEHIND, NOT_RUN
from agenttask.contract import Budget, Checkpoint, Exit, ForkedFrom, Outcome, ResumeFrom, log_prefix
from agenttask.log import Keys, Kind, Record
from agenttask.store import Store
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.agent.conftest import PREFIX, Attempts, Killed, World, kill

FORK = log_prefix(prefix="p", namespace="ns", name="task", uid="fork")
ORIGINAL = Keys(prefix=PREFIX)
RESULT = 4
"""Number of the record with the first tool's result: claim, started and reply come before it."""


def fork_of(original: Attempts, *, seq: int, **more: Any) -> Attempts:
    """A fork of what the original held after record `seq`, in the same bucket, with a world of its own."""
    origin = ForkedFrom(task="task", uid="uid", key=ORIGINAL.record(seq), seq=seq)
    given: dict[str, Any] = {"prompt": None, "resume_from": ResumeFrom(task="task"), "world": World()}
    return Attempts(objects=original.objects, uid="fork", forked_from=origin, **{**given, **more})


def own(fork: Attempts) -> list[str]:
    """Keys under the fork's own prefix."""
    return sorted(key for key in fork.objects if key.startswith(f"{FORK}/"))


async def first_record(fork: Attempts) -> Record:
    tip = (await fork.log(at=1)).tip
    assert tip is not None
    return tip


def sent(fork: Attempts, call: int = 0) -> list[dict[str, Any]]:
    """The messages of one model call."""
    messages: list[dict[str, Any]] = msgspec.json.decode(fork.world.model_calls[call])["messages"]
    return messages


async def test_a_fork_goes_on_in_mid_run_without_paying_again(attempts: Attempts) -> None:
    await attempts.run(1)
    before = dict(attempts.objects)
    fork = fork_of(attempts, seq=RESULT)
    ending = await fork.run(1)
    assert (ending.outcome, ending.answer) == (Outcome.COMPLETED, attempts.world.answer())
    assert fork.world.model_calls[0] == attempts.world.model_calls[1], "the same request, to the byte"
    assert len(fork.world.model_calls) == attempts.world.turns - 1
    assert {key: attempts.objects[key] for key in before} == before, "the original is as it was"


async def test_record_1_is_a_claim_that_carries_the_origin(attempts: Attempts) -> None:
    await attempts.run(1)
    fork = fork_of(attempts, seq=RESULT)
    await fork.run(1)
    first = await first_record(fork)
    assert first.kind is Kind.CLAIM
    assert first.origin is not None
    assert (first.origin.log, first.origin.seq, first.origin.about) == (PREFIX, RESULT, {"task": "task", "uid": "uid"})
    there = await attempts.log(at=RESULT)
    assert there.tip is not None
    assert first.origin.digest == there.tip.digest


async def test_usage_starts_at_zero_and_status_shows_the_inherited_amount_apart(attempts: Attempts) -> None:
    await attempts.run(1)
    fork = fork_of(attempts, seq=RESULT)
    await fork.run(1)
    usage = fork.board.reported[-1].usage
    assert (usage.model_calls, usage.tool_calls, usage.prompt_tokens) == (3, 2, 300)
    assert usage.inherited is not None
    assert msgspec.to_builtins(usage.inherited) == {
        "modelCalls": 1, "toolCalls": 1, "promptTokens": 100, "completionTokens": 10, "costUSD": "0.0001"
    }  # fmt: skip
    assert attempts.board.reported[-1].usage.inherited is None
    assert fork.board.reported[-1].progress.display == "3/50"
    assert fork.board.reported[-1].checkpoint.resumed_from is None


async def test_a_prompt_beside_it_becomes_the_next_user_message(attempts: Attempts) -> None:
    await attempts.run(1)
    fork = fork_of(attempts, seq=10, prompt="And now?", world=World(turns=1))
    await fork.run(1)
    assert sent(fork)[-2:] == [
        {"role": "assistant", "content": attempts.world.answer()},
        {"role": "user", "content": "And now?"},
    ]


async def test_without_one_a_finished_run_gives_its_answer_again(attempts: Attempts) -> None:
    await attempts.run(1)
    fork = fork_of(attempts, seq=10)
    ending = await fork.run(1)
    assert (ending.answer, fork.world.model_calls) == (attempts.world.answer(), [])


async def test_a_parked_run_goes_on_under_a_new_budget(attempts: Attempts) -> None:
    attempts.budget = Budget(steps=2)
    ending = await attempts.run(1)
    assert ending.head is not None
    assert ending.outcome is Outcome.PARKED
    fork = fork_of(attempts, seq=ending.head.seq)
    assert (await fork.run(1)).answer == attempts.world.answer()


async def test_calls_open_at_the_key_are_closed_as_not_run_in_this_fork(attempts: Attempts) -> None:
    await attempts.run(1)
    fork = fork_of(attempts, seq=RESULT - 1, world=World(turns=1))
    fork.world.before_model = answer
    await fork.run(1)
    assert [message["content"] for message in sent(fork) if message["role"] == "tool"] == [NOT_RUN]
    assert fork.world.tool_calls == []


async def answer(_: httpx.Request) -> httpx.Response:
    message = {"role": "assistant", "content": "Done."}
    return httpx.Response(200, json={"choices": [{"message": message, "finish_reason": "stop"}]})


async def test_results_stay_behind_unless_they_are_among_the_parts(attempts: Attempts) -> None:
    await attempts.run(1)
    fork = fork_of(
        attempts, seq=RESULT, world=World(turns=1), resume_from=ResumeFrom(task="task", parts=("Conversation",))
    )
    fork.world.before_model = answer
    await fork.run(1)
    assert [message["content"] for message in sent(fork) if message["role"] == "tool"] == [LEFT_BEHIND]


async def test_a_key_that_is_gone_is_named_and_nothing_is_written(attempts: Attempts) -> None:
    await attempts.run(1)
    del attempts.objects[ORIGINAL.record(RESULT)]
    fork = fork_of(attempts, seq=RESULT)
    ending = await fork.run(1)
    assert (ending.exit, ending.reason) == (Exit.STALLED, "CheckpointGone")
    assert ORIGINAL.record(RESULT) in ending.message
    assert own(fork) == []
    assert fork.board.reported == []


async def test_a_404_while_copying_lists_once_more_and_then_nothing_is_written(attempts: Attempts) -> None:
    await attempts.run(1)
    fork = fork_of(attempts, seq=RESULT)

    lists: list[str] = []

    async def before(call: Call) -> Fault:
        if call.operation == "list":
            lists.append(call.key)
        if call.operation == "get":
            fork.objects.pop(ORIGINAL.record(2), None)
        return Fault.NONE

    ending = await fork.run(1, store=FaultyStore(MemoryStore(fork.objects), before=before))
    assert ending.reason == "CheckpointGone"
    assert lists.count(ORIGINAL.records) >= 2
    assert own(fork) == []


async def test_a_store_that_does_not_answer_is_no_missing_checkpoint(attempts: Attempts) -> None:
    await attempts.run(1)
    fork = fork_of(attempts, seq=RESULT)

    async def before(call: Call) -> Fault:
        return Fault.LOST_REQUEST if call.operation == "get" else Fault.NONE

    ending = await fork.run(1, store=FaultyStore(MemoryStore(fork.objects), before=before))
    assert ending.exit is Exit.UNAVAILABLE


async def test_a_fork_that_has_claimed_needs_the_original_no_more(attempts: Attempts) -> None:
    await attempts.run(1)
    fork = fork_of(attempts, seq=RESULT)
    fork.world.before_model = kill
    with pytest.raises(Killed):
        await fork.run(1)
    for key in [key for key in fork.objects if key.startswith(f"{PREFIX}/")]:
        del fork.objects[key]
    fork.world.before_model = None
    ending = await fork.run(2)
    assert ending.answer == attempts.world.answer()
    assert fork.board.reported[-1].usage.inherited is not None


async def test_where_nothing_had_begun_there_is_nothing_to_fork(attempts: Attempts) -> None:
    await attempts.run(1)
    fork = fork_of(attempts, seq=1, prompt="p")
    ending = await fork.run(1)
    assert (ending.exit, ending.reason) == (Exit.STALLED, "SpecInvalid")
    assert own(fork) == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_every_store_call_a_fork_is_copied_once_and_for_all(attempts: Attempts, when: str) -> None:
    await attempts.run(1)
    base, number = dict(attempts.objects), 0
    while True:
        number += 1
        fork = fork_of(attempts, seq=RESULT)
        fork.objects = dict(base)
        if await _survives(fork, store=fork.dying(at=number, landed=when == "after")):
            break
        ending = await fork.run(2)
        assert ending.answer == attempts.world.answer(), f"killed {when} call {number}"
        first = await first_record(fork)
        assert first.origin is not None, f"killed {when} call {number}"
        assert fork.world.repeated_model_calls() <= 1
    assert number > 20


async def _survives(fork: Attempts, *, store: Store) -> bool:
    try:
        await fork.run(1, store=store)
    except Killed:
        return False
    return True


async def large(request: httpx.Request) -> httpx.Response | None:
    """A few results that are blobs of their own; the number is at their end."""
    number: int = msgspec.json.decode(request.content)["n"]
    return httpx.Response(200, text=" " * 70_000 + str(number)) if number % 40 == 3 else None


async def test_a_fork_of_a_long_run_takes_snapshots_and_blobs_along_and_then_lives_by_itself(
    attempts: Attempts,
) -> None:
    attempts.world = World(turns=220, before_tool=large)
    attempts.budget = Budget(steps=1000)
    await attempts.run(1)
    assert any(key.startswith(ORIGINAL.snapshots) for key in attempts.objects)
    fork = fork_of(attempts, seq=2 * 190 + 2, world=World(turns=220, before_tool=large), budget=Budget(steps=1000))
    fork.world.before_model = kill
    with pytest.raises(Killed):
        await fork.run(1)
    for key in [key for key in fork.objects if key.startswith(f"{PREFIX}/")]:
        del fork.objects[key]
    fork.world.before_model = None
    ending = await fork.run(2)
    assert ending.answer == attempts.world.answer()
    assert min(fork.world.model_calls, key=len) == attempts.world.model_calls[190]
    assert len((await fork.state()).conversation) == 2 * 220


async def test_a_record_below_the_oldest_kept_snapshot_is_gone(attempts: Attempts) -> None:
    attempts.world = World(turns=420)
    attempts.budget = Budget(steps=1000)
    attempts.checkpoint = Checkpoint(keep_last=1)
    await attempts.run(1)
    fork = fork_of(attempts, seq=RESULT)
    ending = await fork.run(1)
    assert (ending.reason, own(fork)) == ("CheckpointGone", [])
