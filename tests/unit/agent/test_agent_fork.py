"""The state a fork begins with: the conversation goes on, nothing stays open, and the accounts start anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from agenttask.agent.events import Charge, Claimed, Ended, Event, Replied, Started, Stopped, Tokens, ToolReturned
from agenttask.agent.fork import LEFT_BEHIND, NOT_RUN, forked
from agenttask.agent.reducer import fold
from agenttask.agent.state import State
from agenttask.agent.turn import Action, CallModel, Finish, next_action
from agenttask.contract import Budget

from tests.unit.agent.replies import replied, tool_call


def reply(*ids: str, text: str | None = None, finish: str = "stop") -> Replied:
    return replied(
        text, *(tool_call(provider_id=each) for each in ids), tokens=Tokens(prompt=5, completion=1), finish=finish
    )


def result(identity: str, text: str) -> ToolReturned:
    return ToolReturned(call=identity, tool="t", text=text, ok=True, ms=1)


def state(*events: Event) -> State:
    return fold(enumerate((Claimed(attempt=1), Started(prompt="p", system_prompt="s"), *events), 1))


def said(state: State) -> list[tuple[str, str | None]]:
    return [(message["role"], message.get("content")) for message in state.conversation]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a fork of a run after these events says, and what it does next."""

    events: tuple[Event, ...]
    prompt: str | None = None
    results: bool = True
    said: list[tuple[str, str | None]]
    next: type[Action] = CallModel


ASKED: list[tuple[str, str | None]] = [("user", "p"), ("assistant", None)]
CASES = {
    "a run that waits for its model goes on as it was": Case(events=(), said=[("user", "p")]),
    "a prompt becomes the next user message": Case(events=(), prompt="q", said=[("user", "p"), ("user", "q")]),
    "calls open at the key are closed as not run in this fork": Case(
        events=(reply("a", "b"),), said=[*ASKED, ("tool", NOT_RUN), ("tool", NOT_RUN)]
    ),
    "a call that had returned keeps its result": Case(
        events=(reply("a", "b"), result("3.1", "two")), said=[*ASKED, ("tool", NOT_RUN), ("tool", "two")]
    ),
    "the next user message comes behind the results": Case(
        events=(reply("a"),), prompt="q", said=[*ASKED, ("tool", NOT_RUN), ("user", "q")]
    ),
    "an answer stands if nothing more is asked": Case(
        events=(reply(text="yes"),), said=[("user", "p"), ("assistant", "yes")], next=Finish
    ),
    "an answered run is asked more": Case(
        events=(reply(text="yes"), Ended(outcome="Completed", reason="Completed", message="m", answer="yes")),
        prompt="q",
        said=[("user", "p"), ("assistant", "yes"), ("user", "q")],
    ),
    "a run that failed for good goes on": Case(
        events=(
            reply("a"),
            result("3.0", "one"),
            Ended(outcome="Failed", reason="BudgetExhausted", message="m"),
        ),
        said=[*ASKED, ("tool", "one")],
    ),
    "results are left behind on demand": Case(
        events=(reply("a", "b"), result("3.0", "one")),
        results=False,
        said=[*ASKED, ("tool", LEFT_BEHIND), ("tool", NOT_RUN)],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_a_fork_begins_with(case: Case) -> None:
    fork = forked(state(*case.events), prompt=case.prompt, results=case.results)
    assert said(fork) == case.said
    assert isinstance(next_action(state=fork, budget=Budget(steps=1)), case.next)
    assert fork.open_calls == ()
    assert (fork.system_prompt, fork.prompt, fork.ended) == ("s", case.prompt or "p", None)


def test_replies_that_were_cut_off_count_anew() -> None:
    cut = state(*[reply(text="x", finish="length")] * 3)
    assert isinstance(next_action(state=cut, budget=Budget()), Finish)
    assert isinstance(next_action(state=forked(cut, prompt=None, results=True), budget=Budget()), CallModel)


def test_usage_starts_at_zero_and_the_inherited_amount_is_shown_apart() -> None:
    original = state(
        reply("a"), result("3.0", "one"), Claimed(attempt=2, charge=Charge(model_calls=2, prompt_tokens=100))
    )
    fork = forked(original, prompt="q", results=True)
    assert (fork.step, fork.tool_calls, fork.prompt_tokens, fork.completion_tokens) == (0, 0, 0, 0)
    assert fork.attempts == ()
    estimated = original.prompt_tokens - 105
    assert fork.inherited == Charge(
        model_calls=3,
        tool_calls=1,
        prompt_tokens=105 + estimated,
        completion_tokens=1,
        unpriced_calls=1,
        unpriced_tokens=6,
    )


def test_a_fork_of_a_fork_inherits_what_both_had_used() -> None:
    first = forked(state(reply(text="yes")), prompt="q", results=True)
    events: tuple[Event, ...] = (Claimed(attempt=1), reply(text="no"))
    second = forked(fold(enumerate(events, 1), first), prompt="r", results=True)
    assert second.inherited == Charge(
        model_calls=2, prompt_tokens=10, completion_tokens=2, unpriced_calls=2, unpriced_tokens=12
    )


def test_the_first_attempt_of_a_fork_repeats_nobodys_model_call() -> None:
    fork = fold([(1, Claimed(attempt=1))], forked(state(), prompt=None, results=True))
    assert (fork.repeated_model_calls, fork.prompt_tokens) == (0, 0)
    assert not fork.stopped


def test_call_identities_and_provider_ids_stay_unique() -> None:
    fork = forked(state(reply("a"), Stopped(reason="r")), prompt=None, results=True)
    events: tuple[Event, ...] = (Claimed(attempt=1), reply("a"))
    after = fold(enumerate(events, 1), fork)
    ids: list[Any] = [call["id"] for message in after.conversation for call in message.get("tool_calls", ())]
    assert len(set(ids)) == len(ids) == 2
    assert [call.id for call in after.open_calls] == ["2.0"]
