"""Runs that wait without a pod: what parks one, who may wake it, and what a kill between the two costs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import msgspec
import pytest
from agenttask.contract import Above, Budget, Exit, Fallback, Outcome, Sleep, Tool, Wake, is_met
from agenttask.endings import Ending, encode_termination
from agenttask.log import Kind

from tests.unit.agent.conftest import Attempts, Killed

SLEEPER = Tool(name="wait", sleep=Sleep(max_seconds=3600))
CLAIM_CALLS = 4
"""list, put, put again, list; and each record is read."""
MINUTES = timedelta(minutes=1)
PASSED = timedelta(seconds=15)
"""What the clock of a test may have gone on by itself."""


async def kinds(attempts: Attempts) -> list[Kind]:
    return [record.kind for record in (await attempts.log()).records]


async def out_of_quota(_: httpx.Request) -> httpx.Response:
    return httpx.Response(429, json={"error": {"code": "insufficient_quota", "message": "You exceeded your quota."}})


def park_of(ending: Ending) -> int:
    assert (ending.exit, ending.outcome) == (Exit.PARKED, Outcome.PARKED)
    assert ending.parked is not None
    return ending.parked.park


def not_before(ending: Ending) -> datetime:
    assert ending.parked is not None
    assert ending.parked.wake.not_before is not None
    return ending.parked.wake.not_before


async def test_a_run_that_wakes_asks_the_first_model_again_and_what_was_tried_is_counted_once(
    attempts: Attempts,
) -> None:
    attempts.fallbacks = (Fallback(name="large", base_url="http://model.test/large"),)
    attempts.world.before_model = out_of_quota
    first = await attempts.run(1)
    assert (await attempts.state()).model == "large"
    again = await attempts.run(2)  # woken too early
    assert park_of(again) != park_of(first)
    assert (await attempts.state()).failed_calls == 2
    attempts.world.before_model = None
    attempts.met_park = park_of(again)
    assert (await attempts.run(3)).outcome is Outcome.COMPLETED
    assert [msgspec.json.decode(sent)["model"] for sent in attempts.world.model_calls] == ["m", "large", *["m"] * 4]


async def test_a_used_up_quota_parks_the_run_and_the_end_says_until_when(attempts: Attempts) -> None:
    attempts.world.before_model = out_of_quota
    ending = await attempts.run(1)
    assert ending.head is not None
    assert park_of(ending) == ending.head.seq
    assert ending.reason == "ModelQuotaExhausted"
    assert "You exceeded your quota" in ending.message
    wait = not_before(ending) - attempts.clock.now()
    assert 5 * MINUTES - PASSED <= wait <= 6 * MINUTES
    assert f"goes on at {not_before(ending):%Y-%m-%dT%H:%M:%SZ}" in ending.message
    assert (await kinds(attempts))[-1] is Kind.PARK
    message = attempts.board.reported[-1].progress.message
    assert message.startswith("parked: ")
    termination = msgspec.json.decode(encode_termination(ending=ending, attempt=1))
    assert termination["parked"] == {
        "park": ending.head.seq,
        "wake": {"notBefore": f"{not_before(ending):%Y-%m-%dT%H:%M:%SZ}"},
    }


async def test_a_woken_run_goes_on_where_it_was_with_no_call_counted_twice(attempts: Attempts) -> None:
    calls = 0

    async def third_is_too_much(request: httpx.Request) -> httpx.Response | None:
        nonlocal calls
        calls += 1
        return await out_of_quota(request) if calls == 3 else None

    attempts.world.before_model = third_is_too_much
    attempts.met_park = park_of(await attempts.run(1))
    ending = await attempts.run(2)
    assert (ending.outcome, ending.answer) == (Outcome.COMPLETED, attempts.world.answer())
    usage = attempts.board.reported[-1].usage
    assert (usage.model_calls, usage.repeated_model_calls) == (4, 0)


async def test_an_attempt_woken_too_early_makes_no_model_call_and_waits_for_the_same(attempts: Attempts) -> None:
    attempts.world.before_model = out_of_quota
    first = await attempts.run(1)
    calls = len(attempts.world.model_calls)
    for number, met in ((2, None), (3, park_of(first)), (4, 999)):
        attempts.met_park = met
        early = await attempts.run(number)
        assert park_of(early) > park_of(first)
        assert not_before(early) == not_before(first)
        assert (early.reason, early.message) == (first.reason, first.message)
    assert len(attempts.world.model_calls) == calls
    reported = [each.checkpoint.seq for each in attempts.board.reported]
    assert reported[-1] == park_of(early)


async def test_what_is_reported_is_newer_than_the_park_only_once_the_run_is_past_it(attempts: Attempts) -> None:
    attempts.world.before_model = out_of_quota
    park = park_of(await attempts.run(1))
    attempts.met_park = park
    attempts.world.before_model = None
    before = len(attempts.board.reported)
    await attempts.run(2)
    # The claim is one above, and says nothing about the wait: an attempt after it would be woken too early.
    assert attempts.board.reported[before].checkpoint.seq > park + 1


@pytest.mark.parametrize("landed", [False, True], ids=["before", "after"])
async def test_a_kill_at_any_store_call_of_a_woken_attempt_costs_at_most_the_call_in_flight(landed: bool) -> None:
    waiting = Attempts()
    waiting.world.before_model = out_of_quota
    park = park_of(await waiting.run(1))
    undisturbed = Attempts(objects=dict(waiting.objects), met_park=park)
    store = undisturbed.dying(at=0, landed=landed)
    await undisturbed.run(2, store=store)
    for number in range(1, store.calls + 1):
        attempts = Attempts(objects=dict(waiting.objects), met_park=park)
        with pytest.raises(Killed):
            await attempts.run(2, store=attempts.dying(at=number, landed=landed))
        # As the operator has it: what is reported decides whether the wait is behind.
        board = attempts.board.reported
        attempts.met_park = None if board and board[-1].checkpoint.seq > park else park
        assert (await attempts.run(3)).answer == attempts.world.answer()
        assert attempts.world.repeated_model_calls() <= 1


async def test_attempts_that_die_while_the_run_is_parked_have_lost_no_model_call(attempts: Attempts) -> None:
    attempts.world.before_model = out_of_quota
    attempts.met_park = park_of(await attempts.run(1))
    attempts.world.before_model = None
    for number in (2, 3):
        behind_its_claim = len(await kinds(attempts)) + CLAIM_CALLS + 1
        with pytest.raises(Killed):
            await attempts.run(number, store=attempts.dying(at=behind_its_claim, landed=False))
        assert (await kinds(attempts))[-1] is Kind.CLAIM
    await attempts.run(4)
    assert (await attempts.state()).repeated_model_calls == 0


async def test_a_quota_of_which_nobody_says_when_there_is_more_is_waited_for_longer_each_time_up_to_an_hour(
    attempts: Attempts,
) -> None:
    attempts.world.before_model = out_of_quota
    waits = []
    for number in range(1, 8):
        ending = await attempts.run(number)
        waits.append((not_before(ending) - attempts.clock.now()) / MINUTES)
        attempts.met_park = park_of(ending)
    assert [round(wait / 1.1, -1) // 10 for wait in waits[1:3]] == [1, 2]
    assert waits == sorted(waits)
    assert 59 < max(waits) <= 60


async def test_a_reply_between_two_used_up_quotas_begins_the_waits_anew(attempts: Attempts) -> None:
    refused = {1, 2, 4}
    calls = 0

    async def some(request: httpx.Request) -> httpx.Response | None:
        nonlocal calls
        calls += 1
        return await out_of_quota(request) if calls in refused else None

    attempts.world.before_model = some
    waits = []
    for number in (1, 2, 3):
        ending = await attempts.run(number)
        attempts.met_park = park_of(ending)
        waits.append((not_before(ending) - attempts.clock.now()) / MINUTES)
    assert waits[0] < 7 < waits[1]
    assert waits[2] < 7


async def test_an_endpoint_that_asks_to_wait_for_long_is_waited_for_without_a_pod(attempts: Attempts) -> None:
    async def later(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"retry-after": "7200"})

    attempts.world.before_model = later
    ending = await attempts.run(1)
    park_of(ending)
    assert abs(not_before(ending) - attempts.clock.now() - 120 * MINUTES) <= MINUTES
    assert len(attempts.world.model_calls) == 1


async def test_however_long_an_endpoint_asks_to_wait_it_is_asked_again_after_a_day(attempts: Attempts) -> None:
    async def next_year(_: httpx.Request) -> httpx.Response:
        return httpx.Response(503, headers={"retry-after": "31536000"})

    attempts.world.before_model = next_year
    ending = await attempts.run(1)
    assert not_before(ending) - attempts.clock.now() <= timedelta(days=1)


async def test_a_budget_used_up_waits_for_a_larger_one_and_goes_on_under_it(attempts: Attempts) -> None:
    attempts.budget = Budget(steps=2)
    ending = await attempts.run(1)
    assert ending.parked is not None
    wake, now = ending.parked.wake, attempts.clock.now()
    assert wake.not_before is None
    assert not is_met(wake, budget=Budget(steps=2), now=now)
    assert is_met(wake, budget=Budget(steps=3), now=now)
    attempts.budget, attempts.met_park = Budget(steps=3), park_of(ending)
    again = await attempts.run(2)
    assert (again.reason, len(attempts.world.model_calls)) == ("BudgetExhausted", 3)
    attempts.budget, attempts.met_park = Budget(steps=4), park_of(again)
    assert (await attempts.run(3)).answer == attempts.world.answer()


async def test_the_least_budget_that_wakes_a_run_is_enough_for_one_more_call(attempts: Attempts) -> None:
    attempts.budget = Budget(tokens=300)
    ending = await attempts.run(1)
    assert ending.parked is not None
    above = ending.parked.wake.budget_above
    assert above is not None
    assert above.tokens is not None
    calls = len(attempts.world.model_calls)
    for tokens, more in ((above.tokens, 0), (above.tokens + 1, 1)):
        attempts.budget, attempts.met_park = Budget(tokens=tokens), park_of(ending)
        ending = await attempts.run(ending.parked.park)
        assert ending.parked is not None
        assert len(attempts.world.model_calls) == calls + more


def asks(*calls: tuple[str, str]) -> httpx.Response:
    asked = [
        {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": asked}
    return httpx.Response(200, json={"choices": [{"message": message, "finish_reason": "tool_calls"}]})


def says(text: str) -> httpx.Response:
    message = {"role": "assistant", "content": text}
    return httpx.Response(200, json={"choices": [{"message": message, "finish_reason": "stop"}]})


def results(attempts: Attempts) -> list[str]:
    request = msgspec.json.decode(attempts.world.model_calls[-1])
    return [message["content"] for message in request["messages"] if message["role"] == "tool"]


def sleeper(attempts: Attempts, *calls: tuple[str, str]) -> None:
    async def handle(_: httpx.Request) -> httpx.Response:
        return asks(*calls) if len(attempts.world.model_calls) == 1 else says("Slept well.")

    attempts.tool = SLEEPER
    attempts.world.before_model = handle


async def test_a_sleep_is_slept_without_a_pod_and_the_model_is_told_the_time(attempts: Attempts) -> None:
    sleeper(attempts, ("wait", '{"seconds": 600}'))
    ending = await attempts.run(1)
    assert ending.reason == "Sleeping"
    assert abs(not_before(ending) - attempts.clock.now() - 10 * MINUTES) <= PASSED
    await attempts.clock.sleep(700)
    attempts.met_park = park_of(ending)
    assert (await attempts.run(2)).answer == "Slept well."
    said, _, _ = results(attempts)[0].removeprefix("It is ").partition(" now.")
    assert not_before(ending) < datetime.fromisoformat(said) <= attempts.clock.now()


async def test_the_other_calls_of_a_reply_run_before_it_sleeps_and_the_longest_sleep_counts(
    attempts: Attempts,
) -> None:
    sleeper(attempts, ("wait", '{"seconds": 60}'), ("nothing", "{}"), ("wait", '{"seconds": 600}'))
    ending = await attempts.run(1)
    assert abs(not_before(ending) - attempts.clock.now() - 10 * MINUTES) <= PASSED
    assert [call.result is None for call in (await attempts.state()).calls] == [True, False, True]
    attempts.met_park = park_of(ending)
    await attempts.run(2)
    first, second, third = results(attempts)
    assert first == third
    assert second.startswith("error: there is no tool named nothing")


@dataclass(frozen=True, kw_only=True)
class Nap:
    arguments: str
    says: str


NAPS = {
    "a short sleep takes no other pod": Nap(arguments='{"seconds": 1}', says="1 s have passed."),
    "one that is too long is refused": Nap(
        arguments='{"seconds": 3601}', says="error: seconds must be a whole number from 1 to 3600"
    ),
    "so is one of no length": Nap(
        arguments='{"seconds": true}', says="error: seconds must be a whole number from 1 to 3600"
    ),
    "and one that says none": Nap(arguments="{}", says="error: seconds must be a whole number from 1 to 3600"),
}


@pytest.mark.parametrize("sentence", NAPS)
async def test_sleeps_in_the_pod(attempts: Attempts, sentence: str) -> None:
    sleeper(attempts, ("wait", NAPS[sentence].arguments))
    ending = await attempts.run(1)
    assert (ending.answer, results(attempts)) == ("Slept well.", [NAPS[sentence].says])


def test_a_wait_for_nothing_never_ends(attempts: Attempts) -> None:
    assert not is_met(Wake(), budget=Budget(), now=attempts.clock.now())


def test_a_part_of_the_budget_without_a_limit_is_never_in_the_way(attempts: Attempts) -> None:
    wake = Wake(budget_above=Above(steps=10, tokens=1000))
    now = attempts.clock.now()
    assert is_met(wake, budget=Budget(steps=11), now=now)
    assert not is_met(wake, budget=Budget(steps=11, tokens=1000), now=now)
    assert is_met(wake, budget=Budget(steps=11, tokens=1001), now=now)
