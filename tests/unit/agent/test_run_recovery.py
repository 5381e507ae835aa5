"""Attempts killed at every boundary of a turn, for each recovery mode: what runs twice, what never does, who decides.

The tool counts its effects, so what the log says is never the only witness.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Literal

import httpx
import msgspec
import pytest
from agenttask.contract import Checkpoint, Exit, HttpTool, Outcome, Probe, Tool
from agenttask.journal import restore

from tests.unit.agent.conftest import PREFIX, Attempts, Killed, World, at_call, kill

Recovery = Literal["Idempotent", "Once", "Reconcile"]
OnDoubt = Literal["Stall", "TellModel", "Fail"]


def echo(recovery: Recovery, on_doubt: OnDoubt = "Stall") -> Tool:
    """The tool of the world, with a probe where one is asked."""
    probe = Probe(http=HttpTool(url="http://probe.test/done")) if recovery == "Reconcile" else None
    http = HttpTool(url="http://tool.test/echo")
    return Tool(name="echo", recovery=recovery, on_doubt=on_doubt, probe=probe, http=http)


def task(tool: Tool, *, turns: int = 3, width: int = 2, one_id: bool = True) -> Attempts:
    return Attempts(world=World(turns=turns, width=width, one_id=one_id), tool=tool)


async def deaths(tool: Tool) -> list[Attempts]:
    """Tasks whose first attempt was killed: before and after each store call, in each tool call, in each model call."""
    undisturbed = task(tool)
    store = undisturbed.dying(at=0, landed=False)
    await undisturbed.run(1, store=store)
    dead = []
    for number in range(1, store.calls + 1):
        for after in (False, True):
            attempts = task(tool)
            with pytest.raises(Killed):
                await attempts.run(1, store=attempts.dying(at=number, landed=after))
            dead.append(attempts)
    for place in ("before_tool", "after_tool", "before_model"):
        for number in range(1, 5 if "tool" in place else 4):
            attempts = task(tool)
            setattr(attempts.world, place, at_call(number, kill))
            with pytest.raises(Killed):
                await attempts.run(1)
            setattr(attempts.world, place, None)
            dead.append(attempts)
    return dead


def most(counts: Counter[str]) -> int:
    return max(counts.values(), default=0)


def effects(attempts: Attempts) -> Counter[str]:
    """How often each call took effect, by its arguments: the calls of the world have all different ones."""
    return Counter(body for _, body in attempts.world.effects)


@pytest.mark.parametrize("recovery", ["Idempotent", "Once", "Reconcile"])
async def test_killed_at_every_boundary_a_turn_goes_on_as_its_recovery_says(recovery: Recovery) -> None:
    dead = await deaths(echo(recovery, "Stall" if recovery == "Idempotent" else "TellModel"))
    assert len(dead) > 30
    doubts = 0
    for where, attempts in enumerate(dead):
        ending = await attempts.run(2)
        assert (ending.exit, ending.outcome) == (Exit.FINAL, Outcome.COMPLETED), where
        assert attempts.world.repeated_model_calls() <= 1, where
        keys = {body: {key for key, used in attempts.world.tool_calls if used == body} for body in effects(attempts)}
        assert all(len(each) == 1 for each in keys.values()), "a call has one idempotency key in all its runs"
        if recovery == "Idempotent":
            assert ending.answer == attempts.world.answer(), where
            assert most(effects(attempts)) <= 2, where
        else:
            assert most(effects(attempts)) <= 1, where
        if recovery == "Reconcile":
            assert ending.answer == attempts.world.answer(), where
            assert most(effects(attempts)) == 1 and len(effects(attempts)) == 4, where
        doubts += ending.answer != attempts.world.answer()
    assert (doubts > 0) == (recovery == "Once"), "the model was told of a doubt, or never had to be"


@pytest.mark.parametrize("place", ["before_tool", "after_tool"])
@pytest.mark.parametrize("on_doubt", ["Stall", "TellModel", "Fail"])
async def test_a_once_call_lost_in_its_tool_is_met_as_on_doubt_says(place: str, on_doubt: OnDoubt) -> None:
    attempts = task(echo("Once", on_doubt), turns=2, width=1)
    setattr(attempts.world, place, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    setattr(attempts.world, place, None)
    ending = await attempts.run(2)
    assert len(attempts.world.tool_calls) == 1
    match on_doubt:
        case "TellModel":
            assert ending.outcome is Outcome.COMPLETED
            told = msgspec.json.decode(attempts.world.model_calls[-1])["messages"][-1]
            assert "whether it took effect is not known" in told["content"]
        case "Fail":
            assert (ending.exit, ending.outcome, ending.reason) == (Exit.FINAL, Outcome.FAILED, "InDoubt")
        case "Stall":
            assert (ending.exit, ending.outcome, ending.reason) == (Exit.STALLED, Outcome.STALLED, "InDoubt")
            assert "call 3.0 of echo was begun by attempt 1" in ending.message
            assert "onDoubt" in ending.message


async def test_a_stalled_doubt_goes_on_when_the_task_is_edited() -> None:
    attempts = task(echo("Once"), turns=2, width=1)
    attempts.world.after_tool = kill
    with pytest.raises(Killed):
        await attempts.run(1)
    for number in (2, 3):
        assert (await attempts.run(number)).reason == "InDoubt"
    attempts.tool = echo("Once", "TellModel")
    assert (await attempts.run(4)).outcome is Outcome.COMPLETED
    assert len(attempts.world.tool_calls) == 1


UNREPORTED: dict[str, tuple[int, ...] | None] = {"its node has not reported": (1,), "nothing is known": None}


@pytest.mark.parametrize("unreported", UNREPORTED.values(), ids=UNREPORTED.keys())
async def test_a_probe_s_no_does_not_count_while_the_first_runner_may_still_live(
    unreported: tuple[int, ...] | None,
) -> None:
    attempts = task(echo("Reconcile"), turns=2, width=1)
    attempts.world.before_tool = kill
    with pytest.raises(Killed):
        await attempts.run(1)
    attempts.world.before_tool = None
    attempts.unreported = unreported
    stalled = await attempts.run(2)
    assert (stalled.exit, stalled.reason) == (Exit.STALLED, "InDoubt")
    assert "may still be running" in stalled.message
    attempts.unreported = ()
    assert (await attempts.run(3)).answer == attempts.world.answer()
    assert most(effects(attempts)) == 1


async def test_a_probe_that_answers_nonsense_leaves_the_call_in_doubt() -> None:
    attempts = task(echo("Reconcile"), turns=2, width=1)
    attempts.world.after_tool = kill
    with pytest.raises(Killed):
        await attempts.run(1)
    attempts.world.after_tool = None
    for answer in (httpx.Response(404), httpx.Response(200, text="no"), httpx.Response(200, json={"result": 1})):
        attempts.world.probe_says = answer
        stalled = await attempts.run(2 + len(attempts.world.probes))
        assert stalled.reason == "InDoubt"
        assert "its probe does not know" in stalled.message
    attempts.world.probe_says = None
    assert (await attempts.run(9)).answer == attempts.world.answer()


async def test_a_fenced_runner_leaves_the_result_of_its_once_call_and_that_settles_the_doubt() -> None:
    attempts = task(echo("Once"), turns=2, width=2)
    waiting = asyncio.Event()

    async def overtaken(request: httpx.Request) -> None:
        if b'"n": 1' in request.content:
            await waiting.wait()  # its neighbour meets the fence first
            await asyncio.sleep(0)
            return
        attempts.world.before_tool = None
        assert (await attempts.run(2)).reason == "InDoubt"
        waiting.set()

    attempts.world.before_tool = overtaken
    assert (await attempts.run(1)).exit is Exit.FENCED
    assert sorted(key for key in attempts.objects if "/late/" in key) == [f"{PREFIX}/late/3.0", f"{PREFIX}/late/3.1"]
    ending = await attempts.run(3)
    assert ending.answer == attempts.world.answer()
    assert most(effects(attempts)) == 1
    assert [facts["settledBy"] for event, facts in attempts.said.lines if "settledBy" in facts] == ["Late", "Late"]


async def test_what_a_fenced_runner_leaves_later_contradicts_what_the_model_was_told_visibly() -> None:
    attempts = task(echo("Once", "TellModel"), turns=2, width=1)

    async def overtaken(_: httpx.Request) -> None:
        attempts.world.before_model = kill
        with pytest.raises(Killed):
            await attempts.run(2)
        attempts.world.before_model = None

    attempts.world.before_tool = overtaken
    assert (await attempts.run(1)).exit is Exit.FENCED
    assert (await attempts.run(3)).outcome is Outcome.COMPLETED
    told = msgspec.json.decode(attempts.world.model_calls[-1])["messages"]
    assert "whether it took effect is not known" in told[-2]["content"]
    assert told[-1]["content"].endswith("It returned:\n0")
    assert ("came-to-light", False) in [(event, facts.get("ranTwice")) for event, facts in attempts.said.lines]


async def test_told_to_stop_calls_that_have_not_begun_are_in_no_doubt() -> None:
    attempts = task(echo("Once"), turns=2, width=12)
    stop = attempts.stop()

    async def told(_: httpx.Request) -> None:
        stop.request()

    attempts.world.before_tool = told
    assert (await attempts.run(1, stop=stop)).exit is Exit.STOPPED
    attempts.world.before_tool = None
    begun = len(attempts.world.tool_calls)
    assert begun < 12
    assert (await attempts.run(2)).answer == attempts.world.answer()
    assert most(effects(attempts)) == 1


async def test_with_every_steps_a_once_call_is_recorded_before_and_after_it_runs() -> None:
    for place in ("before_tool", "before_model"):
        attempts = Attempts(world=World(turns=3), tool=echo("Once"), checkpoint=Checkpoint(every_steps=10))
        setattr(attempts.world, place, at_call(2, kill))
        with pytest.raises(Killed):
            await attempts.run(1)
        setattr(attempts.world, place, None)
        ending = await attempts.run(2)
        if place == "before_tool":
            assert ending.reason == "InDoubt"
        else:
            assert ending.answer == attempts.world.answer()
            assert attempts.world.repeated_model_calls() == 1
        assert most(Counter(body for _, body in attempts.world.tool_calls)) == 1


async def types(attempts: Attempts) -> dict[int, list[str]]:
    """The events of each record."""
    found = await attempts.log()
    assert restore(base=found.base, records=found.records).started
    return {record.seq: [kind(event) for event in record.events] for record in found.records if record.events}


def kind(event: dict[str, object]) -> str:
    volatile = event.get("volatile", {})
    assert isinstance(volatile, dict)
    return str(event.get("type") or volatile.get("type"))


async def test_intents_of_a_turn_are_one_record_behind_the_reply() -> None:
    attempts = task(echo("Once"), turns=2, width=3)
    await attempts.run(1)
    kinds = await types(attempts)
    assert (kinds[3], kinds[4]) == (["replied"], ["intended"])
    assert sum(each.count("intended") for each in kinds.values()) == 1


REWINDS = {
    "that were begun in records it can read": (2, 3, "3.0, 3.1 were begun in records that cannot be gone on from"),
    "that may have been begun in records it cannot read": (3, 7, "may have been begun in records 7"),
}
"""The model call that kills, the record that is damaged (3 and 6 are replies, 4 and 7 intents), what is said."""


@pytest.mark.parametrize(("number", "damaged", "words"), REWINDS.values(), ids=REWINDS.keys())
async def test_a_rewind_over_once_calls_stalls_with_the_list(number: int, damaged: int, words: str) -> None:
    attempts = task(echo("Once"))
    attempts.world.before_model = at_call(number, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    attempts.world.before_model = None
    attempts.objects[f"{PREFIX}/log/{damaged:012d}"] = b"?"
    before = set(attempts.objects)
    ending = await attempts.run(2)
    assert (ending.exit, ending.reason) == (Exit.STALLED, "InDoubt")
    assert words in ending.message
    assert set(attempts.objects) == before, "nothing was written"


async def test_a_rewind_over_calls_that_may_run_twice_goes_on() -> None:
    attempts = task(echo("Idempotent"))
    attempts.world.before_model = at_call(3, kill)
    with pytest.raises(Killed):
        await attempts.run(1)
    attempts.world.before_model = None
    attempts.objects[f"{PREFIX}/log/000000000004"] = b"?"
    assert (await attempts.run(2)).answer == attempts.world.answer()
