"""Long conversations: what requests leave out, when, and that none of it is done twice."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest
from agenttask.agent.budget import prompt_size
from agenttask.agent.compaction import Drop, Summarise, next_step, overdue, to_sum_up
from agenttask.agent.context import FORGOTTEN
from agenttask.agent.events import Dropped, Event, Replied, Started, Summarised, Tokens, ToolReturned
from agenttask.agent.fork import forked
from agenttask.agent.frozen import freeze, thaw
from agenttask.agent.reducer import fold
from agenttask.agent.state import DROPPED, State
from agenttask.contract import Budget, Checkpoint, Outcome

from tests.unit.agent.conftest import Attempts, Killed
from tests.unit.agent.replies import replied, tool_call

LONG = "x" * 4000


def reply(text: str = "", *, call: int | None = None) -> Replied:
    calls = [] if call is None else [tool_call("echo", f'{{"n": {call}}}', provider_id=f"c{call}")]
    return replied(text, *calls, tokens=Tokens(prompt=10, completion=1))


def turns(count: int, *, result: str = LONG, then: tuple[Event, ...] = ()) -> State:
    """The state after so many turns of one call each."""
    events: list[Event] = [Started(prompt="Count.", system_prompt="Be exact.")]
    for number in range(count):
        seq = len(events) + 2
        events += [reply(call=number), ToolReturned(call=f"{seq}.0", tool="echo", text=result, ok=True, ms=1)]
    return fold(list(enumerate([*events, *then], 2)))


def contents(state: State) -> list[str]:
    return [str(message["content"]) for message in state.messages]


def test_old_results_are_dropped_first_and_the_newest_turns_stay_whole() -> None:
    state = turns(10)
    step = next_step(state, most=4000)
    assert step == Drop(before=19, room=4000)  # the tail has 2000 tokens: one turn of about 1000
    shorter = fold([(99, Dropped(before=19, room=4000))], state)
    assert contents(shorter).count(DROPPED) == 9
    assert contents(shorter)[-1] == LONG
    assert shorter.conversation == state.conversation


def test_then_all_but_the_newest_turns_is_summed_up() -> None:
    state = turns(10, then=(Dropped(before=19, room=4000),))
    step = next_step(state, most=1500)
    assert step == Summarise(before=19)
    shorter = fold([(99, Summarised(before=19, reply=reply("Counted to 8.")))], state)
    system, asked, summary, call, result = contents(shorter)
    assert (system, asked, call, result) == ("Be exact.", "Count.", "", LONG)
    assert summary.endswith("\n\nCounted to 8.")


def test_the_newest_results_go_last_and_then_there_is_nothing_left() -> None:
    state = turns(1)
    assert next_step(state, most=100) == Drop(before=3, room=100)
    assert next_step(fold([(99, Dropped(before=3, room=100))], state), most=100) is None


def test_short_results_are_not_worth_dropping() -> None:
    assert next_step(turns(10, result="ok"), most=100) == Summarise(before=19)


def test_a_request_above_its_limit_is_made_shorter_until_it_has_half_of_it() -> None:
    state = turns(10)
    size = prompt_size(state)
    assert overdue(state, limit=None) is None
    assert overdue(state, limit=size) is None
    dropped = overdue(state, limit=size - 1)
    assert isinstance(dropped, Drop)
    assert dropped.room == (size - 1) // 2


@pytest.mark.parametrize("limit", [None, 10**6])
def test_what_is_being_brought_down_goes_on_until_it_has_the_room_it_is_to_have(limit: int | None) -> None:
    state = turns(10, then=(Dropped(before=19, room=1500),))
    size = prompt_size(state)
    assert overdue(msgspec.structs.replace(state, room=size), limit=limit) is None
    assert isinstance(overdue(msgspec.structs.replace(state, room=size - 1), limit=limit), Summarise)


def test_the_request_for_a_summary_has_the_former_one_and_what_came_since() -> None:
    state = turns(10, then=(Summarised(before=11, reply=reply("Counted to 4.")),))
    _, asked = to_sum_up(state, before=15, share=1)
    assert asked["content"].startswith("Summary of what came before:\nCounted to 4.")
    assert re.findall(r'calls echo with \{"n": (\d)', asked["content"]) == ["5", "6"]
    _, newest = to_sum_up(state, before=15, share=2)
    assert asked["content"].endswith(newest["content"])
    assert len(newest["content"]) == len(asked["content"]) // 2


def test_without_a_summary_the_run_goes_on_with_what_it_has() -> None:
    assert FORGOTTEN in contents(turns(10, then=(Summarised(before=19),)))[2]


def test_a_summary_is_paid_for_like_any_reply() -> None:
    before, after = turns(10), turns(10, then=(Summarised(before=19, reply=reply("So.")),))
    assert (after.step, after.tokens) == (before.step + 1, before.tokens + 11)


def test_a_snapshot_holds_it() -> None:
    state = turns(10, then=(Dropped(before=19, room=4000), Summarised(before=19, reply=reply("So."))))
    parts = freeze(state)
    assert thaw(small=parts.small, fixed=parts.fixed, items=parts.items) == state


def test_a_fork_keeps_both_prompts_and_sends_what_its_original_would() -> None:
    state = turns(10, then=(Dropped(before=19, room=4000), Summarised(before=19, reply=reply("So."))))
    fork = forked(state, prompt="Count on.", results=True)
    assert contents(fork) == [*contents(state), "Count on."]
    later = fold([(99, Summarised(before=len(fork.conversation), reply=reply("So, so.")))], fork)
    assert contents(later)[1:3] == ["Count.", "Count on."]


@dataclass
class Counter:
    """A model that asks for one number after the other and takes no request above a limit; its tool is verbose.

    It knows where it stands from the conversation alone, summary included.
    """

    attempts: Attempts
    turns: int
    limit: int
    summaries: list[bytes] = field(default_factory=list)
    largest: int = 0
    refused: int = 0
    dies_after_summary: bool = False
    dies: bool = False

    async def reply(self, request: httpx.Request) -> httpx.Response:
        if self.dies:
            self.dies = False
            raise Killed
        if len(request.content) // 4 > self.limit:
            self.refused += 1
            return httpx.Response(400, json={"error": {"code": "context_length_exceeded", "message": "too long"}})
        self.largest = max(self.largest, len(request.content) // 4)
        asked = msgspec.json.decode(request.content)
        said = " ".join(str(each["content"]) + str(each.get("tool_calls", "")) for each in asked["messages"])
        done = [int(number) for number in re.findall(r"(?:\"n\\*\": |up to )(\d+)", said)]
        newest = max(done, default=-1)
        if "tools" not in asked:
            self.summaries.append(request.content)
            self.dies = self.dies_after_summary
            return self._says(f"Counted up to {newest}.")
        return self._says(f"It is {newest}.") if newest == self.turns - 2 else self._calls(newest + 1)

    async def result(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=LONG)

    def _says(self, text: str) -> httpx.Response:
        return self._answer({"role": "assistant", "content": text}, "stop")

    def _calls(self, number: int) -> httpx.Response:
        function = {"name": "echo", "arguments": f'{{"n": {number}}}'}
        call = {"id": f"c{number}", "type": "function", "function": function}
        return self._answer({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")

    def _answer(self, message: dict[str, Any], finish: str) -> httpx.Response:
        return httpx.Response(200, json={"choices": [{"message": message, "finish_reason": finish}], "model": "m"})


def counting(attempts: Attempts, *, turns: int, limit: int) -> Counter:
    counter = Counter(attempts=attempts, turns=turns, limit=limit)
    attempts.budget = Budget(steps=1000)
    attempts.world.before_model, attempts.world.before_tool = counter.reply, counter.result
    return counter


@pytest.mark.parametrize("told", [True, False])
async def test_a_run_of_300_turns_compacts_and_is_killed_between_compaction_and_the_next_call_and_goes_on(
    attempts: Attempts, told: bool
) -> None:
    """The limit is the task's own, or one that the endpoint alone knows."""
    attempts.checkpoint = Checkpoint(every_steps=1)
    counter = counting(attempts, turns=300, limit=12_000)
    counter.dies_after_summary = True
    attempts.context_tokens = 10_000 if told else None
    killed = 0
    while True:
        try:
            ending = await attempts.run(killed + 1)
        except Killed:
            killed += 1
        else:
            break
    assert (ending.outcome, ending.answer) == (Outcome.COMPLETED, "It is 298.")
    assert killed == len(counter.summaries) == len(set(counter.summaries)) >= 2
    assert (counter.refused == 0) == told
    assert [int(str(msgspec.json.decode(body)["n"])) for _, body in attempts.world.tool_calls] == list(range(299))
    final = await attempts.state()
    assert (final.summaries, final.step) == (killed, 300 + killed)
    assert sum(1 for message in final.conversation if message["role"] == "tool") == 299


async def test_killed_while_it_sums_up_the_same_summary_is_asked_for_once_more(attempts: Attempts) -> None:
    counter = counting(attempts, turns=60, limit=12_000)
    attempts.context_tokens = 5000
    first = True

    async def die_once(request: httpx.Request) -> httpx.Response:
        nonlocal first
        if b'"tools"' not in request.content and first:
            first = False
            counter.summaries.append(request.content)
            raise Killed
        return await counter.reply(request)

    attempts.world.before_model = die_once
    with pytest.raises(Killed):
        await attempts.run(1)
    assert (await attempts.run(2)).answer == "It is 58."
    assert counter.summaries[0] == counter.summaries[1]
    assert (await attempts.state()).repeated_model_calls == 1


async def test_a_conversation_that_cannot_be_made_short_enough_ends_the_run(attempts: Attempts) -> None:
    counting(attempts, turns=3, limit=10)
    ending = await attempts.run(1)
    assert (ending.outcome, ending.reason) == (Outcome.FAILED, "ContextTooLong")


async def test_without_need_nothing_is_left_out(attempts: Attempts) -> None:
    attempts.context_tokens = 100_000
    await attempts.run(1)
    kinds = {str(event["type"]) for record in (await attempts.log()).records for event in record.events}
    assert not kinds & {"dropped", "summarised"}
