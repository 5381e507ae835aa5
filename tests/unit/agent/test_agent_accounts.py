"""What was used, what it cost, and what is known of the models."""

from __future__ import annotations

from decimal import Decimal

import pytest
from agenttask.agent.accounts import charge_for
from agenttask.agent.events import (
    Charge,
    Claimed,
    Event,
    ModelSwitched,
    Replied,
    Started,
    Stopped,
    Summarised,
    Tokens,
    Try,
)
from agenttask.agent.reducer import fold
from agenttask.agent.state import AUTHOR, KEPT_LATENCIES, State

from tests.unit.agent.replies import replied, tool_call

CENT = Decimal("0.01")


def reply(*failed: Try, model: str = "m", cost: Decimal | None = CENT, first_ms: int = 5) -> Replied:
    """An unusable reply, so that the model is asked again and again."""
    return replied(
        "hm",
        finish="length",
        tokens=Tokens(prompt=100, completion=10, cached=40, reasoning=4),
        model=model,
        first_ms=first_ms,
        cost=cost,
        failed=failed,
        reasoning="private",
    )


def late(ms: int) -> Try:
    return Try(model="m", message="no token", ms=ms, timed_out=True)


def broken(prompt: int, completion: int) -> Try:
    tokens = Tokens(prompt=prompt, completion=completion, estimated=True)
    return Try(model="m", message="broke off", ms=3, tokens=tokens)


def after(*events: Event) -> State:
    return fold(enumerate((Claimed(attempt=1), Started(prompt="p"), *events), 1))


def test_cached_and_reasoning_tokens_are_parts_of_the_others() -> None:
    state = after(reply(), reply())
    assert (state.prompt_tokens, state.cached_tokens) == (200, 80)
    assert (state.completion_tokens, state.reasoning_tokens) == (20, 8)
    assert state.tokens == 220


def test_what_has_no_price_is_counted_and_not_taken_for_nothing() -> None:
    state = after(reply(), reply(cost=None))
    assert (state.cost_usd, state.unpriced_calls) == (CENT, 1)
    assert state.spent_usd == 2 * CENT


def test_replies_that_broke_off_are_lost_and_kept_apart() -> None:
    state = after(reply(broken(50, 5)), reply(broken(50, 5), late(60_000)))
    assert (state.prompt_tokens, state.lost_prompt_tokens) == (200, 100)
    assert (state.completion_tokens, state.lost_completion_tokens) == (20, 10)
    assert state.failed_calls == 3
    assert state.lost_cost_usd == CENT  # half the tokens of two replies at a cent each
    assert state.tokens == 330


def test_of_each_model_the_newest_latencies_are_kept_and_deadlines_that_were_missed_are_among_them() -> None:
    state = after(reply(late(60_000), broken(1, 1), first_ms=7), reply(model="n", first_ms=8))
    assert state.latencies == {"m": (60_000, 7), "n": (8,)}
    state = after(*(reply(first_ms=number) for number in range(KEPT_LATENCIES + 5)))
    assert state.latencies == {"m": tuple(range(5, KEPT_LATENCIES + 5))}


def test_another_model_s_replies_carry_its_name_and_the_first_one_s_do_not() -> None:
    switched = ModelSwitched(link=1, model="n", why="m: HTTP 503", failed=(late(60_000),))
    state = after(reply(), switched, reply(model="n"))
    assert [message.get(AUTHOR) for message in state.conversation if message["role"] == "assistant"] == [None, "n"]
    assert (state.author, state.link, state.model, state.replies) == ("m", 1, "n", 1)


def test_an_attempt_that_found_no_model_leaves_the_next_one_with_the_first_again() -> None:
    switched = ModelSwitched(link=1, model="n", why="m: HTTP 503")
    for_want_of_a_model = after(switched, Stopped(reason="ModelUnavailable", failed=(late(60_000),)))
    by_a_signal = after(switched, Stopped(reason="Stopped"))
    assert for_want_of_a_model.replies > by_a_signal.replies == 0
    assert for_want_of_a_model.failed_calls == 1


@pytest.mark.parametrize(("finish", "counted"), [("tool_calls", 1), ("length", 0), ("content_filter", 0)])
def test_a_rewind_counts_the_tool_calls_that_the_run_would_have_counted(finish: str, counted: int) -> None:
    asks = replied(None, tool_call(), finish=finish)
    for left, want in ((asks, counted), (Summarised(before=1, reply=asks), 0)):
        assert (charge_for([left]).tool_calls, after(left).tool_calls) == (want, want)


def test_what_a_rewind_leaves_behind_is_charged_to_the_last_cent() -> None:
    left = [reply(), reply(cost=None)]
    charge = charge_for(left)
    assert charge == Charge(
        model_calls=2,
        prompt_tokens=200,
        cached_tokens=80,
        completion_tokens=20,
        reasoning_tokens=8,
        cost_usd=CENT,
        unpriced_calls=1,
        unpriced_tokens=110,
    )
    rewound, kept = after(Claimed(attempt=2, charge=charge)), after(*left)
    assert (rewound.tokens, rewound.cost_usd, rewound.spent_usd) == (
        kept.tokens + rewound.lost_prompt_tokens,
        kept.cost_usd,
        kept.spent_usd + rewound.lost_cost_usd,
    )
