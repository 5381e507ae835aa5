"""What a run may still use. Checked before a call, never after: an overshoot is at most one call."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from agenttask.agent.reducer import estimate_tokens
from agenttask.agent.state import State
from agenttask.contract import Above, Budget

SMALLEST_REPLY: Final = 16
"""Tokens. For a reply that could not even be so long no request is paid, and a call that is made asks for as many."""


def exhausted(*, state: State, budget: Budget) -> str | None:
    """Why no further model call may be made, as a sentence, or None."""
    if state.step >= budget.steps:
        return f"all {budget.steps} steps of the budget are used and the model has not given its final answer"
    if (money := money_left(state=state, budget=budget)) is not None and money <= 0:
        return f"{state.spent_usd:.4f} US dollars are spent, of the budget's {budget.cost_usd}"
    if budget.tokens is None:
        return None
    if (left := budget.tokens - state.tokens) <= 0:
        return f"{state.tokens} tokens are used, of the budget's {budget.tokens}"
    if left - (size := prompt_size(state)) < SMALLEST_REPLY:
        return f"{left} of the budget's {budget.tokens} tokens are left, and the next request alone has about {size}"
    return None


def needs(state: State) -> Above:
    """What a budget must be above so that it is not exhausted."""
    tokens = state.tokens + prompt_size(state) + SMALLEST_REPLY - 1
    return Above(steps=state.step, tokens=tokens, cost_usd=state.spent_usd)


def reply_limit(*, state: State, budget: Budget) -> int | None:
    """How many tokens the next reply may have; None: as many as it takes."""
    return None if budget.tokens is None else budget.tokens - state.tokens - prompt_size(state)


def money_left(*, state: State, budget: Budget) -> Decimal | None:
    """How many US dollars may still be spent; None: as many as it takes."""
    return None if budget.cost_usd is None else budget.cost_usd - state.spent_usd


def prompt_size(state: State) -> int:
    """About how many tokens the next request has."""
    if not state.measured_messages:
        return estimate_tokens([*state.messages, *state.tools])
    return state.measured_tokens + estimate_tokens(state.conversation[state.measured_messages :])
