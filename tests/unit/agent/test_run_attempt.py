"""Whole attempts: what ends them, what the next one finds, and how little is done twice."""

from __future__ import annotations

import asyncio
import hashlib
from itertools import pairwise
from typing import Literal

import httpx
import msgspec
import pytest
from agenttask.agent.loop import PARALLEL_CALLS
from agenttask.contract import (
    RESULT_BYTES,
    Budget,
    Checkpoint,
    Exit,
    Header,
    HttpTool,
    Outcome,
    Probe,
    SecretKeyRef,
    Tool,
)
from agenttask.log import Kind
from agenttask.status_api import Answer
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.agent.conftest import KEY, PREFIX, Attempts, Killed, World, at_call, kill

CLAIM_CALLS = 4
"""list, put, put again, list."""


def newest(attempts: Attempts) -> dict[str, object]:
    """The newest status, as sent."""
    status: dict[str, object] = msgspec.json.decode(msgspec.json.encode(attempts.board.reported[-1]))
    return status


async def test_an_undisturbed_run_completes_with_the_expected_number_of_model_calls(attempts: Attempts) -> None:
    ending = await attempts.run(1)
    assert (ending.exit, ending.outcome, ending.answer) == (Exit.FINAL, Outcome.COMPLETED, "The sum is 3.")
    assert len(attempts.world.model_calls) == attempts.world.turns
    kinds = [record.kind for record in (await attempts.log()).records]
    # claim, started, three times reply and result, the last reply, the final record
    assert kinds == [Kind.CLAIM, *[Kind.EVENTS] * 8, Kind.FINAL]


async def test_status_says_where_the_run_stands(attempts: Attempts) -> None:
    ending = await attempts.run(1)
    status = newest(attempts)
    assert status["progress"] == {
        "step": 4,
        "maxSteps": 50,
        "display": "4/50",
        "message": "answered after 4 steps",
        "model": "m",
    }
    assert status["usage"] == {
        "modelCalls": 4,
        "repeatedModelCalls": 0,
        "failedModelCalls": 0,
        "unpricedModelCalls": 0,
        "toolCalls": 3,
        "promptTokens": 400,
        "cachedTokens": 0,
        "completionTokens": 40,
        "reasoningTokens": 0,
        "totalTokens": 440,
        "costUSD": "0.0005",
        "attempts": [{"attempt": 1, "modelCalls": 4, "repeatedModelCalls": 0}],
    }
    assert ending.head is not None
    assert status["result"] == {"answer": "The sum is 3.", "key": ending.head.key}
    checkpoint = status["checkpoint"]
    assert isinstance(checkpoint, dict)
    assert checkpoint["key"] == f"{PREFIX}/log/000000000010"
    assert "resumedFrom" not in checkpoint


async def test_status_names_the_record_an_attempt_went_on_from(attempts: Attempts) -> None:
    attempts.world.before_model = at_call(2, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    attempts.world.before_model = None
    await attempts.run(2)
    checkpoint = newest(attempts)["checkpoint"]
    assert isinstance(checkpoint, dict)
    assert checkpoint["resumedFrom"] == f"{PREFIX}/log/000000000004"


@pytest.mark.parametrize("width", [1, 3])
async def test_killed_at_any_store_call_it_resumes_and_repeats_at_most_the_call_in_flight(width: int) -> None:
    calls = await _store_calls(width)
    assert calls > CLAIM_CALLS + 6
    for number in range(1, calls + 1):
        for after in (False, True):
            attempts = Attempts(world=World(width=width))
            with pytest.raises(Killed):
                await attempts.run(1, store=attempts.dying(at=number, landed=after))
            ending = await attempts.run(2)
            where = f"killed {'after' if after else 'before'} store call {number}"
            assert (ending.exit, ending.answer) == (Exit.FINAL, attempts.world.answer()), where
            assert attempts.world.repeated_model_calls() <= 1, where
            assert attempts.world.repeated_tool_calls() <= width, where
            reported = (await attempts.state()).repeated_model_calls
            assert attempts.world.repeated_model_calls() <= reported <= 1, where


async def test_with_every_steps_a_kill_repeats_at_most_so_many_steps() -> None:
    for number in range(1, 8):
        attempts = Attempts(world=World(turns=8), checkpoint=Checkpoint(every_steps=3))
        attempts.world.before_model = at_call(number, kill)
        with pytest.raises(Killed):
            await attempts.run(1)
        attempts.world.before_model = None
        ending = await attempts.run(2)
        assert ending.answer == attempts.world.answer()
        assert attempts.world.repeated_model_calls() <= 3, f"killed at model call {number}"


async def test_a_run_of_many_steps_resumes_from_a_snapshot_and_ends_alike() -> None:
    undisturbed = Attempts(world=World(turns=150), budget=Budget(steps=200))
    await undisturbed.run(1)
    attempts = Attempts(world=World(turns=150), budget=Budget(steps=200))
    attempts.world.before_model = at_call(140, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    attempts.world.before_model = None
    ending = await attempts.run(2)
    assert any("/snapshot/" in key for key in attempts.objects)
    assert (ending.exit, ending.answer) == (Exit.FINAL, undisturbed.world.answer())
    assert attempts.world.repeated_model_calls() == 1
    assert attempts.world.model_calls[-1] == undisturbed.world.model_calls[-1]


@pytest.mark.parametrize("mode", ["Rewind", "Stall"])
async def test_a_damaged_checkpoint_is_rewound_and_said_or_stalls(mode: Literal["Rewind", "Stall"]) -> None:
    attempts = Attempts(world=World(turns=6), checkpoint=Checkpoint(on_corruption=mode))
    attempts.world.before_model = at_call(5, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    attempts.world.before_model = None
    damaged = f"{PREFIX}/log/000000000007"
    attempts.objects[damaged] = b"?"
    ending = await attempts.run(2)
    if mode == "Stall":
        assert (ending.exit, ending.reason) == (Exit.STALLED, "CheckpointCorrupt")
        assert damaged in ending.message
    else:
        assert (ending.exit, ending.answer) == (Exit.FINAL, attempts.world.answer())
        assert any(event == "rewound" and damaged in facts["message"] for event, facts in attempts.said.lines)
        assert (await attempts.state()).abandoned_model_calls == 1


async def _store_calls(width: int) -> int:
    attempts = Attempts(world=World(width=width))
    store = attempts.dying(at=0, landed=False)
    await attempts.run(1, store=store)
    return store.calls


@pytest.mark.parametrize("number", range(1, 5))
async def test_killed_at_any_model_call_it_resumes_and_repeats_that_call_alone(number: int) -> None:
    attempts = Attempts()
    attempts.world.before_model = at_call(number, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    ending = await attempts.run(2)
    assert ending.answer == attempts.world.answer()
    assert attempts.world.repeated_model_calls() == 1
    assert (await attempts.state()).repeated_model_calls == 1


@pytest.mark.parametrize("number", range(1, 10))
async def test_killed_at_any_tool_call_it_repeats_no_model_call_and_no_tool_call_it_had_a_result_of(
    number: int,
) -> None:
    attempts = Attempts(world=World(width=3))
    attempts.world.before_tool = at_call(number, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    ending = await attempts.run(2)
    assert ending.answer == attempts.world.answer()
    assert attempts.world.repeated_model_calls() == 0
    assert (await attempts.state()).repeated_model_calls == 0


async def test_a_resumed_run_sends_the_very_bytes_an_undisturbed_one_sends() -> None:
    undisturbed, disturbed = Attempts(world=World(width=2)), Attempts(world=World(width=2))
    await undisturbed.run(1)
    for number in range(1, 4):
        disturbed.world.before_tool = at_call(2, kill)
        with pytest.raises(Killed):
            await disturbed.run(number)
    disturbed.world.before_tool = None
    await disturbed.run(4)
    assert disturbed.world.model_calls == undisturbed.world.model_calls


def digest_of(sent: bytes, *, length: int) -> str:
    return hashlib.sha256(sent[:length]).hexdigest()


async def test_each_request_begins_with_the_one_before_by_hash_whichever_attempt_sent_it() -> None:
    attempts = Attempts(world=World(turns=6, width=2), system_prompt="Be exact.")
    for number in range(1, 5):
        attempts.world.before_tool = at_call(2, kill)
        with pytest.raises(Killed):
            await attempts.run(number)
    attempts.world.before_tool = None
    await attempts.run(5)
    sent = attempts.world.model_calls
    assert len(sent) == 6
    for earlier, later in pairwise(sent):
        length = earlier.index(b'],"model"')
        assert digest_of(later, length=length) == digest_of(earlier, length=length)


async def test_a_call_has_the_same_idempotency_key_in_every_attempt_and_no_other_has_it(attempts: Attempts) -> None:
    attempts.world.before_tool = at_call(2, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    await attempts.run(2)
    assert len(attempts.world.tool_calls) == 4
    assert len(set(attempts.world.tool_calls)) == len({key for key, _ in attempts.world.tool_calls}) == 3


async def test_a_newer_attempt_fences_an_older_one_at_its_next_append(attempts: Attempts) -> None:
    async def overtaken(_: httpx.Request) -> None:
        attempts.world.before_model = None
        await attempts.run(2)

    attempts.world.before_model = at_call(3, overtaken)
    ending = await attempts.run(1)
    assert (ending.exit, ending.outcome, ending.newest_attempt) == (Exit.FENCED, Outcome.FENCED, 2)
    log = (await attempts.log()).records
    claim = next(record.seq for record in log if record.attempt == 2)
    assert {record.attempt for record in log if record.seq > claim} == {2}
    assert log[-1].kind is Kind.FINAL


async def test_a_run_that_is_over_is_reported_again_without_a_model_call(attempts: Attempts) -> None:
    await attempts.run(1)
    again = await attempts.run(2)
    assert (again.exit, again.outcome, again.answer) == (Exit.FINAL, Outcome.COMPLETED, "The sum is 3.")
    assert len(attempts.world.model_calls) == 4
    assert len((await attempts.log()).records) == 10
    assert attempts.board.reported[-1] == attempts.board.reported[-2]


async def test_the_budget_s_steps_bound_the_run(attempts: Attempts) -> None:
    attempts.budget = Budget(steps=2)
    ending = await attempts.run(1)
    assert (ending.exit, ending.outcome, ending.reason) == (Exit.PARKED, Outcome.PARKED, "BudgetExhausted")
    assert len(attempts.world.model_calls) == 2
    assert "2 steps" in ending.message


async def test_replies_that_are_cut_off_again_and_again_end_the_run(attempts: Attempts) -> None:
    async def cut(_: httpx.Request) -> httpx.Response:
        message = {"role": "assistant", "content": "and so on"}
        return httpx.Response(200, json={"choices": [{"message": message, "finish_reason": "length"}]})

    attempts.world.before_model = cut
    ending = await attempts.run(1)
    assert (ending.outcome, ending.reason) == (Outcome.FAILED, "ModelRefused")
    assert len(attempts.world.model_calls) == 3


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "ModelDenied"), (404, "ModelNotFound"), (503, "ModelUnavailable")],
)
async def test_a_model_that_needs_someone_stalls_the_attempt_and_the_next_goes_on(
    attempts: Attempts, status: int, reason: str
) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status)

    attempts.world.turns = 2
    attempts.world.before_model = refuse
    stalled = await attempts.run(1)
    assert (stalled.exit, stalled.outcome, stalled.reason) == (Exit.STALLED, Outcome.STALLED, reason)
    before = (await attempts.log()).records[-1].progress_digest
    again = await attempts.run(2)
    assert again.reason == reason
    assert (await attempts.log()).records[-1].progress_digest == before
    attempts.world.before_model = None
    ending = await attempts.run(3)
    assert ending.outcome is Outcome.COMPLETED
    assert (await attempts.state()).repeated_model_calls == 0


async def test_a_request_the_model_calls_bad_fails_the_run(attempts: Attempts) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"error": {"message": "too long"}})

    attempts.world.before_model = refuse
    ending = await attempts.run(1)
    assert (ending.exit, ending.outcome, ending.reason) == (Exit.FINAL, Outcome.FAILED, "ModelRefused")
    assert ending.message.endswith("HTTP 400: too long")


async def test_a_store_that_does_not_answer_ends_the_attempt_unavailable(attempts: Attempts) -> None:
    async def lose(call: Call) -> Fault:
        return Fault.LOST_REQUEST if call.number > 8 else Fault.NONE

    ending = await attempts.run(1, store=FaultyStore(MemoryStore(attempts.objects), before=lose))
    assert (ending.exit, ending.outcome, ending.reason) == (Exit.UNAVAILABLE, Outcome.UNAVAILABLE, "StoreUnavailable")
    assert ending.head is not None
    assert (await attempts.run(2)).answer == attempts.world.answer()
    assert attempts.world.repeated_model_calls() <= 1


async def test_a_recorded_checkpoint_the_store_does_not_hold_is_lost_and_nothing_is_started(
    attempts: Attempts,
) -> None:
    attempts.recorded = (f"{PREFIX}/log/000000000007", 7)
    ending = await attempts.run(1)
    assert (ending.exit, ending.reason) == (Exit.STALLED, "CheckpointLost")
    assert attempts.world.model_calls == []
    assert attempts.board.reported == []


async def test_another_prompt_than_the_recorded_one_is_refused(attempts: Attempts) -> None:
    attempts.world.before_model = at_call(2, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    attempts.prompt = "Something else."
    ending = await attempts.run(2)
    assert (ending.exit, ending.reason) == (Exit.STALLED, "SpecInvalid")


async def test_edited_tools_are_an_event_and_reach_the_next_request(attempts: Attempts) -> None:
    attempts.world.before_model = at_call(2, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    attempts.world.before_model = None
    attempts.tool = Tool(
        name="echo", recovery="Idempotent", description="new", http=HttpTool(url="http://tool.test/echo")
    )
    await attempts.run(2)
    schemas = [msgspec.json.decode(call)["tools"][0]["function"]["description"] for call in attempts.world.model_calls]
    assert schemas == ["", "", "new", "new", "new"]
    types = [event.get("type") for record in (await attempts.log()).records for event in record.events]
    assert types.count("reconfigured") == 1


HTTP = HttpTool(url="http://tool.test")
SPECS = {
    "a tool of no kind": Tool(name="echo"),
    "a tool of two kinds": Tool(name="echo", http=HTTP, command=("true",)),
    "a command that no process can be given": Tool(name="echo", command=("true", "a\0b")),
    "a probe that nobody asks": Tool(name="echo", http=HTTP, probe=Probe(http=HTTP)),
    "a probe that is missing": Tool(name="echo", recovery="Reconcile", http=HTTP),
    "a probe of no kind": Tool(name="echo", recovery="Reconcile", http=HTTP, probe=Probe()),
    "a place for what is no parameter": Tool(name="echo", http=HttpTool(url="http://tool.test/{{id}}")),
    "a template error": Tool(name="echo", http=HttpTool(url="http://tool.test", body={"a": ["{{"]})),
    "a host that the model would name": Tool(
        name="echo", parameters={"properties": {"h": {}}}, http=HttpTool(url="http://{{h}}/")
    ),
    "a key of the runner's passed on": Tool(name="echo", command=("env",), pass_env=("AWS_SECRET_ACCESS_KEY",)),
    "two Secrets in one variable": Tool(
        name="echo",
        http=HttpTool(
            url="http://tool.test",
            headers=(
                Header(name="A", secret_key_ref=SecretKeyRef(name="a-b")),
                Header(name="B", secret_key_ref=SecretKeyRef(name="a.b")),
            ),
        ),
    ),
}


@pytest.mark.parametrize("tool", SPECS.values(), ids=SPECS.keys())
async def test_a_spec_the_runner_cannot_do_stalls_before_anything_is_written(attempts: Attempts, tool: Tool) -> None:
    attempts.tool = tool
    ending = await attempts.run(1)
    assert (ending.exit, ending.reason) == (Exit.STALLED, "SpecInvalid")
    assert attempts.objects == {}


async def test_many_large_results_under_a_slow_store_do_not_outgrow_a_record(attempts: Attempts) -> None:
    async def large(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"\xff" * RESULT_BYTES)

    async def slow(_: Call) -> Fault:
        for _turn in range(200):
            await asyncio.sleep(0)
        return Fault.NONE

    async def answer(request: httpx.Request) -> httpx.Response | None:
        if b'"tool"' not in request.content:
            return None
        return httpx.Response(200, json={"choices": [{"message": {"content": "so"}, "finish_reason": "stop"}]})

    attempts.world = World(turns=2, width=40, before_tool=large, before_model=answer)
    ending = await attempts.run(1, store=FaultyStore(MemoryStore(attempts.objects), before=slow))
    assert (ending.exit, ending.message, ending.answer) == (Exit.FINAL, "answered after 2 steps", "so")


async def test_told_to_stop_it_finishes_the_call_in_flight_and_the_next_attempt_repeats_none(
    attempts: Attempts,
) -> None:
    stop = attempts.stop()

    async def told(_: httpx.Request) -> None:
        stop.request()

    attempts.world.before_model = at_call(2, told)
    ending = await attempts.run(1, stop=stop)
    assert (ending.exit, ending.outcome) == (Exit.STOPPED, Outcome.STOPPED)
    assert (await attempts.state()).step == 2
    assert len(attempts.world.tool_calls) == 1
    assert newest(attempts)["progress"] == {
        "step": 2,
        "maxSteps": 50,
        "display": "2/50",
        "message": "stopped; to be resumed",
        "model": "m",
    }
    assert (await attempts.run(2)).answer == attempts.world.answer()
    assert attempts.world.repeated_model_calls() == 0
    assert (await attempts.state()).repeated_model_calls == 0


async def test_a_call_that_outlasts_the_grace_is_given_up_and_counted_as_repeated(attempts: Attempts) -> None:
    stop = attempts.stop(grace_seconds=6)

    async def hang(_: httpx.Request) -> None:
        stop.request()
        await asyncio.Event().wait()

    attempts.world.before_model = at_call(2, hang)
    ending = await attempts.run(1, stop=stop)
    assert ending.exit == Exit.STOPPED
    await attempts.run(2)
    assert attempts.world.repeated_model_calls() == 1
    assert (await attempts.state()).repeated_model_calls == 1


async def test_a_silent_store_is_not_waited_for_beyond_the_grace_and_nothing_is_lost(attempts: Attempts) -> None:
    stop = attempts.stop()

    async def silent(call: Call) -> Fault:
        if stop.requested:
            await asyncio.Event().wait()
        return Fault.NONE

    async def told(_: httpx.Request) -> None:
        stop.request()

    attempts.world.before_model = at_call(2, told)
    ending = await attempts.run(1, store=FaultyStore(MemoryStore(attempts.objects), before=silent), stop=stop)
    assert (ending.exit, ending.outcome) == (Exit.UNAVAILABLE, Outcome.UNAVAILABLE)
    assert "is not waited for" in ending.message
    assert (await attempts.run(2)).answer == attempts.world.answer()


async def test_told_to_stop_while_tools_run_it_keeps_their_results(attempts: Attempts) -> None:
    attempts.world.width = 3
    stop = attempts.stop()

    async def told(_: httpx.Request) -> None:
        stop.request()

    attempts.world.before_tool = at_call(1, told)
    await attempts.run(1, stop=stop)
    done = len(attempts.world.tool_calls)
    await attempts.run(2)
    assert attempts.world.repeated_tool_calls() == 0
    assert done >= 1


async def test_told_to_stop_no_call_begins_that_was_waiting_for_its_place(attempts: Attempts) -> None:
    attempts.world.width, attempts.world.turns = 12, 2
    stop = attempts.stop()

    async def told(_: httpx.Request) -> None:
        stop.request()

    attempts.world.before_tool = at_call(1, told)
    await attempts.run(1, stop=stop)
    assert len(attempts.world.tool_calls) <= PARALLEL_CALLS
    assert (await attempts.run(2)).answer == attempts.world.answer()
    assert attempts.world.repeated_tool_calls() == 0


async def test_told_to_stop_before_the_claim_nothing_is_claimed(attempts: Attempts) -> None:
    stop = attempts.stop()
    stop.request()
    assert (await attempts.run(1, stop=stop)).exit == Exit.STOPPED
    assert attempts.objects == {}


async def test_the_last_status_write_is_waited_for(attempts: Attempts) -> None:
    attempts.board.answers = [Answer.UNREACHABLE] * 50
    ending = await attempts.run(1)
    assert ending.exit == Exit.FINAL
    assert newest(attempts)["result"]


async def test_told_to_stop_while_the_api_server_is_away_it_is_not_finished(attempts: Attempts) -> None:
    stop = attempts.stop()
    attempts.board.answers = [Answer.UNREACHABLE] * 1000

    async def told(_: httpx.Request) -> None:
        stop.request()

    attempts.world.before_model = at_call(4, told)
    assert (await attempts.run(1, stop=stop)).exit == Exit.STOPPED
    assert (await attempts.log()).records[-1].kind is Kind.FINAL
    attempts.board.answers = []
    assert (await attempts.run(2)).exit == Exit.FINAL
    assert len(attempts.world.model_calls) == 4


async def test_a_task_that_is_gone_for_a_minute_needs_no_last_write(attempts: Attempts) -> None:
    attempts.board.answers = [Answer.GONE] * 1000
    ending = await attempts.run(1)
    assert ending.exit == Exit.FINAL
    assert attempts.board.reported == []


async def test_a_refused_status_write_is_never_taken_for_fencing(attempts: Attempts) -> None:
    attempts.board.answers = [Answer.REFUSED] * 3 + [Answer.GONE] * 3
    assert (await attempts.run(1)).exit == Exit.FINAL
    assert newest(attempts)["result"]


async def test_a_defect_is_an_internal_error(attempts: Attempts) -> None:
    async def broken(_: httpx.Request) -> None:
        raise RuntimeError("oops")

    attempts.world.before_model = broken
    ending = await attempts.run(1)
    assert (ending.exit, ending.outcome, ending.message) == (Exit.INTERNAL, Outcome.INTERNAL, "RuntimeError: oops")
    assert any(event == "defect" for event, _ in attempts.said.lines)


async def test_lines_say_what_happens_without_contents_and_keys(attempts: Attempts) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, text=f"no {KEY}")

    attempts.world.before_model = at_call(1, refuse)
    await attempts.run(1)
    names = [event for event, _ in attempts.said.lines]
    assert names == [
        "claimed", "started", "retry", *["reply", "tool"] * 3, "reply", "ended", "exit",
    ]  # fmt: skip
    everything = str(attempts.said.lines) + str(attempts.board.reported)
    assert KEY not in everything
    assert "Add the numbers" not in everything
    assert all(KEY.encode() not in body for body in attempts.objects.values())
    reply = next(facts for event, facts in attempts.said.lines if event == "reply")
    assert (reply["step"], reply["calls"], reply["promptTokens"], reply["failedTries"]) == (1, ["echo"], 100, 1)
