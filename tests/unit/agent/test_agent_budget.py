"""Budgets: what is still allowed, and that a run stays within it, killed or not."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
from agenttask.agent.budget import SMALLEST_REPLY, exhausted, money_left, prompt_size, reply_limit
from agenttask.agent.events import Claimed, Reconfigured, Replied, Started, Tokens
from agenttask.agent.reducer import estimate_tokens, fold, reduce
from agenttask.agent.state import State
from agenttask.contract import Budget, Exit, Outcome

from tests.unit.agent.conftest import PRICE, Attempts, Killed
from tests.unit.agent.replies import replied

START = fold([(2, Started(prompt="p" * 400))])


def after(*, prompt: int, completion: int, text: str = "hm", cost: str | None = None) -> State:
    """The state after one unusable reply with this usage."""
    reply = replied(
        text,
        finish="length",
        tokens=Tokens(prompt=prompt, completion=completion),
        cost=None if cost is None else Decimal(cost),
    )
    return reduce(START, reply, seq=3)


@dataclass(frozen=True, kw_only=True)
class Case:
    state: State
    budget: Budget
    says: str | None
    limit: int | None


SIZE = prompt_size(START)
NEXT = prompt_size(after(prompt=1000, completion=10))
CASES = {
    "without a budget of tokens nothing is limited": Case(state=START, budget=Budget(), says=None, limit=None),
    "steps are counted": Case(
        state=after(prompt=1, completion=1), budget=Budget(steps=1), says="all 1 steps", limit=None
    ),
    "a first call may use what its request leaves": Case(
        state=START, budget=Budget(tokens=1000), says=None, limit=1000 - SIZE
    ),
    "a request that leaves nothing for a reply is not sent": Case(
        state=START,
        budget=Budget(tokens=SIZE + SMALLEST_REPLY - 1),
        says="and the next request alone has about",
        limit=SMALLEST_REPLY - 1,
    ),
    "one that leaves just enough is": Case(
        state=START, budget=Budget(tokens=SIZE + SMALLEST_REPLY), says=None, limit=SMALLEST_REPLY
    ),
    "what was sent and received before is used": Case(
        state=after(prompt=1000, completion=10), budget=Budget(tokens=1010), says="1010 tokens are used", limit=-NEXT
    ),
    "and what is left bounds the next reply": Case(
        state=after(prompt=1000, completion=10), budget=Budget(tokens=5000), says=None, limit=3990 - NEXT
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_what_a_budget_leaves(sentence: str) -> None:
    case = CASES[sentence]
    why = exhausted(state=case.state, budget=case.budget)
    assert (why is None) == (case.says is None)
    assert (case.says or "") in (why or "")
    assert reply_limit(state=case.state, budget=case.budget) == case.limit


def test_the_next_request_is_measured_by_the_endpoint_and_only_what_came_since_is_estimated() -> None:
    assert prompt_size(START) == estimate_tokens(START.messages)
    state = after(prompt=1000, completion=10)
    assert prompt_size(state) == 1010 + estimate_tokens(state.conversation[-1:])


def test_a_request_that_looks_different_is_estimated_anew() -> None:
    state = reduce(after(prompt=10**6, completion=10), Reconfigured(system_prompt="s"), seq=4)
    assert prompt_size(state) == estimate_tokens(state.messages)


MONEY = Budget(cost_usd=Decimal("0.50"))


def test_money_that_is_spent_ends_the_calls_and_what_is_left_bounds_the_next_one() -> None:
    state = after(prompt=1000, completion=10, cost="0.20")
    assert money_left(state=state, budget=Budget()) is None
    assert (exhausted(state=state, budget=MONEY), money_left(state=state, budget=MONEY)) == (None, Decimal("0.30"))
    state = after(prompt=1000, completion=10, cost="0.50")
    assert exhausted(state=state, budget=MONEY) == "0.5000 US dollars are spent, of the budget's 0.50"


def test_what_has_no_price_counts_at_the_mean_price_of_a_token() -> None:
    state = reduce(after(prompt=900, completion=100, cost="0.20"), unpriced(prompt=450, completion=50), seq=4)
    assert state.cost_usd == Decimal("0.20")
    assert state.spent_usd == Decimal("0.30")


def test_lost_calls_are_paid_for_too() -> None:
    state = reduce(after(prompt=900, completion=100, cost="0.20"), Claimed(attempt=1), seq=4)
    lost = reduce(state, Claimed(attempt=2), seq=5)
    assert lost.lost_prompt_tokens > 0
    assert lost.spent_usd == Decimal("0.20") * (1000 + lost.lost_prompt_tokens) / 1000


def unpriced(*, prompt: int, completion: int) -> Replied:
    return replied("hm", finish="length", tokens=Tokens(prompt=prompt, completion=completion))


async def test_a_run_stops_before_the_call_its_money_does_not_pay_for(attempts: Attempts) -> None:
    attempts.budget = Budget(cost_usd=Decimal("0.0002"))  # a reply of the world's costs 0.00012
    ending = await attempts.run(1)
    assert (ending.exit, ending.outcome, ending.reason) == (Exit.PARKED, Outcome.PARKED, "BudgetExhausted")
    assert len(attempts.world.model_calls) == 2
    first, second = (max_tokens(sent) for sent in attempts.world.model_calls)
    assert first is not None
    assert second is not None
    assert second < first <= 100  # at 2 dollars a million


async def test_with_limited_money_a_model_of_unknown_price_is_not_called(attempts: Attempts) -> None:
    attempts.budget = Budget(cost_usd=Decimal(5))
    attempts.price = None
    ending = await attempts.run(1)
    assert (ending.exit, ending.reason) == (Exit.STALLED, "CostUnknown")
    assert attempts.world.model_calls == []
    attempts.price = PRICE
    assert (await attempts.run(2)).outcome is Outcome.COMPLETED


def max_tokens(sent: bytes) -> int | None:
    request: dict[str, Any] = msgspec.json.decode(sent)
    return request.get("max_tokens")


async def test_a_run_stops_before_the_call_that_would_go_beyond_its_tokens(attempts: Attempts) -> None:
    attempts.budget = Budget(tokens=300)  # a reply of the world's costs 110
    ending = await attempts.run(1)
    assert (ending.exit, ending.outcome, ending.reason) == (Exit.PARKED, Outcome.PARKED, "BudgetExhausted")
    assert len(attempts.world.model_calls) == 2
    assert all(0 < (max_tokens(sent) or 0) < 300 for sent in attempts.world.model_calls)


async def test_a_budget_that_suffices_changes_the_limit_of_replies_alone(attempts: Attempts) -> None:
    free = Attempts()
    await free.run(1)
    attempts.budget = Budget(tokens=100_000)
    assert (await attempts.run(1)).outcome is Outcome.COMPLETED
    for bound, unbound in zip(attempts.world.model_calls, free.world.model_calls, strict=True):
        assert bound.startswith(unbound[:-1])


async def test_a_call_that_was_lost_counts(attempts: Attempts) -> None:
    attempts.budget = Budget(tokens=1000)

    async def die(_: httpx.Request) -> httpx.Response | None:
        raise Killed

    attempts.world.before_model = die
    for number in (1, 2, 3):
        with pytest.raises(Killed):
            await attempts.run(number)
    attempts.world.before_model = None
    await attempts.run(4)
    limits = [max_tokens(sent) or 0 for sent in attempts.world.model_calls]
    assert limits[0] > limits[1] > limits[2] > limits[3]


async def test_a_run_that_must_end_early_reports_the_model_s_last_words(attempts: Attempts) -> None:
    async def ponder(request: httpx.Request) -> httpx.Response:
        turn = len(attempts.world.model_calls)
        message = attempts.world._reply(msgspec.json.decode(request.content))["choices"][0]["message"]
        return httpx.Response(
            200,
            json={"choices": [{"message": message | {"content": f"So far: {turn}"}, "finish_reason": "tool_calls"}]},
        )

    attempts.world.before_model = ponder
    attempts.budget = Budget(steps=2)
    ending = await attempts.run(1)
    assert (ending.outcome, ending.answer) == (Outcome.PARKED, None)
    result = attempts.board.reported[-1].result
    assert result is not None
    assert (result.answer, result.partial) == ("So far: 2", True)


async def test_a_run_that_ends_with_its_answer_is_not_partial(attempts: Attempts) -> None:
    await attempts.run(1)
    result = attempts.board.reported[-1].result
    assert result is not None
    assert result.partial is None
