"""The fold: what each event does to the state, and what the conversation looks like to an endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from agenttask.agent.events import (
    Claimed,
    Ended,
    Event,
    Reconfigured,
    Replied,
    Started,
    Stopped,
    ToolReturned,
    decode,
    encode,
)
from agenttask.agent.reducer import CUT_REASONS, EMPTY_REPLY, fold
from agenttask.agent.state import PLACEHOLDER, AttemptTally, State

from tests.unit.agent.replies import replied, tool_call

START: tuple[Event, ...] = (Claimed(attempt=1), Started(prompt="What is 1+1?"))
ASKED = {"role": "user", "content": "What is 1+1?"}


def asks(*calls: dict[str, Any], content: Any = None, finish: str = "tool_calls", **message: Any) -> Replied:
    """A reply with tool calls."""
    return replied(content, *calls, finish=finish, **message)


def says(content: Any, *, finish: str = "stop", **message: Any) -> Replied:
    """A reply without tool calls."""
    return replied(content, finish=finish, **message)


def call(provider_id: str | None, name: str = "add", arguments: Any = '{"a":1}') -> dict[str, Any]:
    """One tool call as a provider writes it."""
    return tool_call(name, arguments, provider_id=provider_id)


def nested(depth: int) -> str:
    """A JSON object with that many objects and arrays inside one another."""
    return '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def returned(identity: str, text: str = "2") -> ToolReturned:
    """A result."""
    return ToolReturned(call=identity, tool="add", text=text, ok=True, ms=1)


def after(*events: Event) -> State:
    """The state after these events, each in a record of its own."""
    return fold(enumerate(events, start=1))


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Events, and the messages an endpoint would get after them."""

    events: tuple[Event, ...]
    want: list[dict[str, Any]]


CONVERSATIONS = {
    "a prompt alone": Conversation(events=START, want=[ASKED]),
    "a system prompt goes first": Conversation(
        events=(Claimed(attempt=1), Started(prompt="What is 1+1?", system_prompt="Be brief.")),
        want=[{"role": "system", "content": "Be brief."}, ASKED],
    ),
    "an edited system prompt replaces the old one": Conversation(
        events=(*START, Reconfigured(system_prompt="Be long.")),
        want=[{"role": "system", "content": "Be long."}, ASKED],
    ),
    "a reply enters the conversation before its results do": Conversation(
        events=(*START, asks(call("x"))), want=[ASKED, asks(call("x")).message]
    ),
    "results come in the order asked, whatever the order they arrive in": Conversation(
        events=(*START, asks(call("x"), call("y")), returned("3.1", "second"), returned("3.0", "first")),
        want=[
            ASKED,
            asks(call("x"), call("y")).message,
            {"role": "tool", "tool_call_id": "x", "content": "first"},
            {"role": "tool", "tool_call_id": "y", "content": "second"},
        ],
    ),
    "empty and repeated ids are replaced by ours": Conversation(
        events=(*START, asks(call(""), call("x"), call("x"), call(None)), *(returned(f"3.{i}") for i in range(4))),
        want=[
            ASKED,
            asks(call("call_1_0"), call("x"), call("call_1_2"), call("call_1_3")).message,
            *({"role": "tool", "tool_call_id": i, "content": "2"} for i in ("call_1_0", "x", "call_1_2", "call_1_3")),
        ],
    ),
    "an id of an earlier turn is replaced too": Conversation(
        events=(*START, asks(call("x")), returned("3.0"), asks(call("x")), returned("5.0")),
        want=[
            ASKED,
            asks(call("x")).message,
            {"role": "tool", "tool_call_id": "x", "content": "2"},
            asks(call("call_2_0")).message,
            {"role": "tool", "tool_call_id": "call_2_0", "content": "2"},
        ],
    ),
    "a provider that uses our ids gets yet another": Conversation(
        events=(*START, asks(call("call_1_1"), call("")), returned("3.0"), returned("3.1")),
        want=[
            ASKED,
            asks(call("call_1_1"), call("call_1_1_")).message,
            {"role": "tool", "tool_call_id": "call_1_1", "content": "2"},
            {"role": "tool", "tool_call_id": "call_1_1_", "content": "2"},
        ],
    ),
    "arguments that are no JSON object are not sent back, since some endpoints refuse the whole request": Conversation(
        events=(*START, asks(call("x", arguments='{"a":'), call("y", arguments=""), call("z", arguments="[1]"))),
        want=[
            ASKED,
            asks(call("x", arguments="{}"), call("y", arguments="{}"), call("z", arguments="{}")).message,
        ],
    ),
    "arguments nested deeper than any decoder goes are not sent back": Conversation(
        events=(*START, asks(call("x", arguments='{"a":' + "[" * 200_000), call("y", arguments=nested(101)))),
        want=[ASKED, asks(call("x", arguments="{}"), call("y", arguments="{}")).message],
    ),
    "arguments nested as deep as is allowed are": Conversation(
        events=(*START, asks(call("x", arguments=nested(100)))),
        want=[ASKED, asks(call("x", arguments=nested(100))).message],
    ),
    "arguments that came as an object become a string": Conversation(
        events=(*START, asks(call("x", arguments={"a": 1}))), want=[ASKED, asks(call("x")).message]
    ),
    "unknown fields of a reply are kept, nulls are not": Conversation(
        events=(*START, asks(call("x"), reasoning_content="hm", refusal=None)),
        want=[ASKED, asks(call("x"), reasoning_content="hm").message],
    ),
    "a reply cut at the length limit keeps its text and loses its calls": Conversation(
        events=(*START, asks(call("x"), finish="length", content="I will")),
        want=[
            ASKED,
            {"role": "assistant", "content": "I will"},
            {"role": "user", "content": CUT_REASONS["length"]},
        ],
    ),
    "a filtered reply without text gets a placeholder": Conversation(
        events=(*START, asks(call("x"), finish="content_filter")),
        want=[
            ASKED,
            {"role": "assistant", "content": PLACEHOLDER},
            {"role": "user", "content": CUT_REASONS["content_filter"]},
        ],
    ),
    "calls count whatever the finish reason is called": Conversation(
        events=(*START, asks(call("x"), finish="stop")), want=[ASKED, asks(call("x")).message]
    ),
    "an empty reply is no answer": Conversation(
        events=(*START, says("")),
        want=[ASKED, {"role": "assistant", "content": PLACEHOLDER}, {"role": "user", "content": EMPTY_REPLY}],
    ),
}


@pytest.mark.parametrize("case", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_conversation(case: Conversation) -> None:
    assert after(*case.events).messages == case.want


@pytest.mark.parametrize("case", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_conversation_is_the_same_after_a_resume(case: Conversation) -> None:
    stored = [decode(msgspec.json.decode(msgspec.json.encode(encode(event)))) for event in case.events[1:]]
    assert after(case.events[0], *stored) == after(*case.events)


def test_calls_are_named_by_the_reply_s_record_and_keep_what_is_wrong_with_them() -> None:
    state = after(*START, asks(call("x"), call("y", arguments="{'a': 1}")))
    good, bad = state.open_calls
    assert (good.id, good.arguments, good.problem) == ("3.0", '{"a":1}', None)
    assert (bad.id, bad.arguments) == ("3.1", "{}")
    assert bad.problem is not None
    assert bad.problem.startswith("the arguments are not JSON")
    assert bad.problem.endswith("{'a': 1}")


def test_a_result_that_comes_twice_counts_once() -> None:
    state = after(*START, asks(call("x"), call("y")), returned("3.0", "first"), returned("3.0", "again"))
    assert [one.result for one in state.calls] == ["first", None]


@pytest.mark.parametrize(
    ("content", "refusal", "want"),
    [
        ("2", None, "2"),
        ([{"type": "text", "text": "2"}, {"type": "text", "text": "!"}], None, "2!"),
        ("", "No.", "No."),
    ],
)
def test_the_answer_is_the_reply_that_asks_for_nothing(content: Any, refusal: str | None, want: str) -> None:
    assert after(*START, says(content, refusal=refusal)).answer == want


@dataclass(frozen=True, kw_only=True)
class Account:
    """Events, and what each attempt is charged with."""

    events: tuple[Event, ...]
    want: tuple[AttemptTally, ...]


ACCOUNTS = {
    "a first claim repeats nothing": Account(events=START, want=(AttemptTally(attempt=1),)),
    "a claim while the model was being called charges the lost call": Account(
        events=(*START, Claimed(attempt=2)),
        want=(AttemptTally(attempt=1), AttemptTally(attempt=2, repeated_model_calls=1)),
    ),
    "a claim before the run began charges nothing": Account(
        events=(Claimed(attempt=1), Claimed(attempt=2)), want=(AttemptTally(attempt=1), AttemptTally(attempt=2))
    ),
    "a claim while tools ran charges nothing": Account(
        events=(*START, asks(call("x")), Claimed(attempt=2)),
        want=(AttemptTally(attempt=1, model_calls=1), AttemptTally(attempt=2)),
    ),
    "a claim after an announced end charges nothing": Account(
        events=(*START, Stopped(reason="Stopped"), Claimed(attempt=2)),
        want=(AttemptTally(attempt=1), AttemptTally(attempt=2)),
    ),
    "a claim after an end that gave a call up charges it": Account(
        events=(*START, Stopped(reason="Stopped", calling=True), Claimed(attempt=2)),
        want=(AttemptTally(attempt=1), AttemptTally(attempt=2, repeated_model_calls=1)),
    ),
    "two claims in a row charge one call each": Account(
        events=(*START, Claimed(attempt=2), Claimed(attempt=4)),
        want=(
            AttemptTally(attempt=1),
            AttemptTally(attempt=2, repeated_model_calls=1),
            AttemptTally(attempt=4, repeated_model_calls=1),
        ),
    ),
    "an attempt that claims again in its pod has one account": Account(
        events=(*START, says(""), Claimed(attempt=1), says("2")),
        want=(AttemptTally(attempt=1, model_calls=2, repeated_model_calls=1),),
    ),
}


@pytest.mark.parametrize("case", ACCOUNTS.values(), ids=ACCOUNTS.keys())
def test_attempts_are_charged(case: Account) -> None:
    state = after(*case.events)
    assert state.attempts == case.want
    assert state.repeated_model_calls == sum(tally.repeated_model_calls for tally in case.want)


def test_totals_outlive_the_attempts_they_came_from() -> None:
    events: list[Event] = [*START]
    for attempt in range(2, 15):
        events += [says(""), Claimed(attempt=attempt)]
    state = after(*events)
    assert [tally.attempt for tally in state.attempts] == list(range(5, 15))
    assert (state.step, state.repeated_model_calls, state.completion_tokens) == (13, 13, 26)


def test_what_may_differ_between_equal_runs_is_volatile() -> None:
    assert encode(Stopped(reason="Stopped")) == {"volatile": {"type": "stopped", "reason": "Stopped"}}
    assert encode(returned("3.0"))["volatile"] == {"ms": 1}
    assert decode(encode(Stopped(reason="Stopped", calling=True))) == Stopped(reason="Stopped", calling=True)


def test_the_end_is_kept() -> None:
    ended = Ended(outcome="Completed", reason="Completed", message="done", answer="2")
    state = after(*START, says("2"), ended)
    assert state.ended == ended
    assert not state.awaits_model
