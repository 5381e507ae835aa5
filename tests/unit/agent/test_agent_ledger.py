"""The ledger: what is recorded of a call that must not run twice, and what a new attempt makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from agenttask.agent.events import (
    CameToLight,
    Claimed,
    Event,
    Intended,
    Replied,
    Settled,
    Started,
    ToolReturned,
    Withdrawn,
    decode,
    encode,
)
from agenttask.agent.frozen import freeze, thaw
from agenttask.agent.reducer import fold
from agenttask.agent.state import Call, State
from agenttask.agent.turn import CallModel, Finish, Intend, RunCalls, Settle, next_action
from agenttask.contract import Budget

from tests.unit.agent.replies import replied, tool_call


def asks(*tools: str) -> Replied:
    """A reply with a call of each tool, all with the same id."""
    return replied(None, *map(tool_call, tools))


def returned(call: str, *, by: Settled | None = None) -> ToolReturned:
    return ToolReturned(call=call, tool="pay", text="paid", ok=True, ms=1, by=by)


ASKED: tuple[Event, ...] = (Claimed(attempt=1), Started(prompt="p"), asks("pay", "look"))
"""The reply is record 3."""
INTENT = Intended(calls=("3.0",))
LOST = Claimed(attempt=2)


def after(*events: Event) -> State:
    return fold(enumerate(events, start=1))


@dataclass(frozen=True, kw_only=True)
class Next:
    """Events, and what comes next where `pay` is the one tool that must not run twice."""

    events: tuple[Event, ...]
    action: type[Any]
    calls: tuple[str, ...] = ()


NEXT = {
    "before a call that must not run twice its intent is recorded": Next(
        events=ASKED, action=Intend, calls=("3.0",)
    ),
    "then it runs, beside those that may": Next(
        events=(*ASKED, INTENT), action=RunCalls, calls=("3.0", "3.1")
    ),
    "lost without an intent it has not run": Next(
        events=(*ASKED, LOST), action=Intend, calls=("3.0",)
    ),
    "lost behind its intent it is in doubt, and that comes first": Next(
        events=(*ASKED, INTENT, LOST), action=Settle, calls=("3.0",)
    ),
    "its result leaves no doubt": Next(
        events=(*ASKED, INTENT, returned("3.0"), LOST), action=RunCalls, calls=("3.1",)
    ),
    "an intent taken back leaves none either": Next(
        events=(*ASKED, INTENT, Withdrawn(calls=("3.0",)), LOST), action=Intend, calls=("3.0",)
    ),
    "settled, the others run": Next(
        events=(*ASKED, INTENT, LOST, returned("3.0", by=Settled.LATE)), action=RunCalls, calls=("3.1",)
    ),
    "intended once more it runs": Next(
        events=(*ASKED, INTENT, LOST, Intended(calls=("3.0",), by=Settled.PROBE)), action=RunCalls, calls=("3.0", "3.1")
    ),
    "lost once more it is in doubt once more": Next(
        events=(*ASKED, INTENT, LOST, Intended(calls=("3.0",), by=Settled.PROBE), Claimed(attempt=3)), action=Settle,
        calls=("3.0",),
    ),
    "another process of the same pod leaves it in doubt too": Next(
        events=(*ASKED, INTENT, Claimed(attempt=1)), action=Settle, calls=("3.0",)
    ),
}  # fmt: skip


def calls_of(action: Any) -> tuple[str, ...]:
    return tuple(call.id if isinstance(call, Call) else call for call in getattr(action, "calls", ()))


@pytest.mark.parametrize("case", NEXT.values(), ids=NEXT.keys())
def test_next(case: Next) -> None:
    action = next_action(state=after(*case.events), budget=Budget(), guarded={"pay"})
    assert (type(action), calls_of(action)) == (case.action, case.calls)


def test_a_call_that_cannot_run_needs_no_intent() -> None:
    broken = asks("pay")
    broken.message["tool_calls"][0]["function"]["arguments"] = "{"
    action = next_action(state=after(*ASKED[:2], broken), budget=Budget(), guarded={"pay"})
    assert (type(action), calls_of(action)) == (RunCalls, ("3.0",))


def test_an_intent_names_its_attempt() -> None:
    state = after(*ASKED, INTENT, LOST, Intended(calls=("3.0",), by=Settled.PROBE))
    assert [call.intent for call in state.calls] == [2, None]


DOUBTS = {
    "told as unknown": ((returned("3.0", by=Settled.POLICY), returned("3.1")), False),
    "run once more": ((Intended(calls=("3.0",), by=Settled.PROBE), returned("3.0"), returned("3.1")), True),
}


@pytest.mark.parametrize(("events", "repeated"), DOUBTS.values(), ids=DOUBTS.keys())
def test_what_comes_to_light_later_is_told_to_the_model_even_behind_its_answer(
    events: tuple[Event, ...], repeated: bool
) -> None:
    state = after(*ASKED, INTENT, LOST, *events, replied("done"))
    assert isinstance(next_action(state=state, budget=Budget(), guarded={"pay"}), Finish)
    (doubt,) = state.doubted
    assert (doubt.call, doubt.tool, doubt.repeated) == ("3.0", "pay", repeated)
    light = CameToLight(call="3.0", tool="pay", text="paid", ok=True, repeated=repeated)
    told = fold([(20, light)], state)
    assert told.doubted == ()
    assert isinstance(next_action(state=told, budget=Budget(), guarded={"pay"}), CallModel)
    words = told.messages[-1]["content"]
    assert words.endswith("returned:\npaid")
    assert ("once more" in words) == repeated


def test_a_call_that_was_settled_by_evidence_is_not_looked_for_again() -> None:
    assert after(*ASKED, INTENT, LOST, returned("3.0", by=Settled.LATE)).doubted == ()
    assert after(*ASKED, INTENT, LOST, returned("3.0", by=Settled.PROBE)).doubted == ()


NO_PROGRESS = {"an intent": INTENT, "one taken back": Withdrawn(calls=("3.0",))}


@pytest.mark.parametrize("event", NO_PROGRESS.values(), ids=NO_PROGRESS.keys())
def test_intents_are_no_progress(event: Event) -> None:
    plain = encode(event)
    assert set(plain) == {"volatile"}
    assert decode(plain) == event


def test_a_snapshot_keeps_the_doubts() -> None:
    state = after(*ASKED, INTENT, LOST, returned("3.1"))
    parts = freeze(state)
    through_json = msgspec.json.decode(msgspec.json.encode(parts.small))
    assert thaw(small=through_json, fixed=parts.fixed, items=parts.items) == state
