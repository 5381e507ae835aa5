"""The state as a snapshot holds it: what comes back is what was frozen, wherever in a run that happened."""

from __future__ import annotations

import json
from decimal import Decimal

import msgspec
import pytest
from agenttask.agent.events import (
    Charge,
    Claimed,
    Ended,
    Event,
    ModelSwitched,
    Replied,
    Started,
    Stopped,
    Tokens,
    ToolReturned,
    Try,
)
from agenttask.agent.frozen import freeze, thaw
from agenttask.agent.reducer import fold
from agenttask.agent.state import State

from tests.unit.agent.replies import replied, tool_call


def reply(*ids: str, text: str | None = None, finish: str = "stop") -> Replied:
    return replied(
        text,
        *(tool_call(provider_id=each) for each in ids),
        tokens=Tokens(prompt=5, completion=1),
        finish=finish,
        cost=Decimal("0.0000123"),
    )


def result(identity: str) -> ToolReturned:
    return ToolReturned(call=identity, tool="t", text="Ω\n", ok=True, ms=1)


RUN: tuple[Event, ...] = (
    Claimed(attempt=1),
    Started(prompt="p", system_prompt="s", tools=({"name": "t"},)),
    reply("a", "b"),
    result("3.1"),
    result("3.0"),
    reply(text="cut", finish="length"),
    Claimed(
        attempt=2,
        charge=Charge(model_calls=3, tool_calls=1, prompt_tokens=7, completion_tokens=2, cost_usd=Decimal("0.5")),
    ),
    reply("a"),
    ModelSwitched(
        link=1, model="n", why="m: HTTP 503", failed=(Try(model="m", message="late", ms=60_000, timed_out=True),)
    ),
    Stopped(reason="Stopped", calling=True),
    Claimed(attempt=3),
    result("8.0"),
    reply(text="done"),
    Ended(outcome="Completed", reason="Completed", message="m", answer="done"),
)


def after(count: int) -> State:
    return fold((seq, event) for seq, event in enumerate(RUN[:count], 1))


@pytest.mark.parametrize("count", range(len(RUN) + 1))
def test_a_state_comes_back_as_it_was_wherever_it_is_frozen(count: int) -> None:
    state = after(count)
    parts = json.loads(json.dumps(freeze(state)._asdict()))
    again = thaw(**parts)
    assert again == state
    rest = fold(((seq, event) for seq, event in enumerate(RUN[count:], count + 1)), again)
    assert rest == after(len(RUN))


def test_what_grows_is_handed_over_item_by_item_and_the_rest_stays_small() -> None:
    state = after(len(RUN))
    parts = freeze(state)
    assert parts.items is state.conversation
    assert not {"conversation", "provider_ids", "tools", "prompt", "system_prompt"} & set(parts.small)


def test_a_state_of_another_version_is_refused() -> None:
    parts = freeze(after(3))
    with pytest.raises(msgspec.ValidationError):
        thaw(small=parts.small | {"step": "three"}, fixed=parts.fixed, items=parts.items)
