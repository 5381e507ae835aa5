"""What has been used, and what is known of the models: pure, and part of the reducer."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agenttask.agent.events import Charge, ModelSwitched, Parked, Replied, Stopped, Tokens, Try
from agenttask.agent.state import KEPT_LATENCIES, AttemptTally, State

GIVEN_UP = 1_000_000
"""Replies of a model that was given up: its turn is over, whatever comes next."""


def replied(state: State, event: Replied) -> State:
    """One reply more."""
    tally = state.attempts[-1] if state.attempts else AttemptTally(attempt=0)
    tokens = event.tokens
    counted = msgspec.structs.replace(
        state,
        step=state.step + 1,
        prompt_tokens=state.prompt_tokens + tokens.prompt,
        cached_tokens=state.cached_tokens + tokens.cached,
        completion_tokens=state.completion_tokens + tokens.completion,
        reasoning_tokens=state.reasoning_tokens + tokens.reasoning,
        cost_usd=state.cost_usd + (event.cost_usd or 0),
        unpriced_calls=state.unpriced_calls + (event.cost_usd is None),
        unpriced_tokens=state.unpriced_tokens + (0 if event.cost_usd is not None else _sum(tokens)),
        attempts=(*state.attempts[:-1], msgspec.structs.replace(tally, model_calls=tally.model_calls + 1)),
        author=state.author or event.asked,
        model=event.asked,
        replies=state.replies + 1,
    )
    return _timed(_tried(counted, event.failed), event.asked, event.first_ms)


def apply(state: State, event: ModelSwitched | Stopped | Parked) -> State:
    """Another model is in use; or the attempt ended, and if for want of a model, the first has its turn again."""
    if isinstance(event, ModelSwitched):
        moved = msgspec.structs.replace(state, link=event.link, model=event.model, replies=0)
    else:
        moved = msgspec.structs.replace(state, replies=GIVEN_UP) if event.failed and state.link else state
    return _tried(moved, event.failed)


def charged(state: State, charge: Charge) -> State:
    """A rewind left replies behind that were paid for."""
    return msgspec.structs.replace(
        state,
        abandoned_model_calls=state.abandoned_model_calls + charge.model_calls,
        tool_calls=state.tool_calls + charge.tool_calls,
        prompt_tokens=state.prompt_tokens + charge.prompt_tokens,
        cached_tokens=state.cached_tokens + charge.cached_tokens,
        completion_tokens=state.completion_tokens + charge.completion_tokens,
        reasoning_tokens=state.reasoning_tokens + charge.reasoning_tokens,
        cost_usd=state.cost_usd + charge.cost_usd,
        unpriced_calls=state.unpriced_calls + charge.unpriced_calls,
        unpriced_tokens=state.unpriced_tokens + charge.unpriced_tokens,
    )


def charge_for(replies: Iterable[Replied]) -> Charge:
    """What these replies cost."""
    total = Charge()
    for reply in replies:
        total = Charge(
            model_calls=total.model_calls + 1,
            tool_calls=total.tool_calls + len(reply.message.get("tool_calls") or ()),
            prompt_tokens=total.prompt_tokens + reply.tokens.prompt,
            cached_tokens=total.cached_tokens + reply.tokens.cached,
            completion_tokens=total.completion_tokens + reply.tokens.completion,
            reasoning_tokens=total.reasoning_tokens + reply.tokens.reasoning,
            cost_usd=total.cost_usd + (reply.cost_usd or 0),
            unpriced_calls=total.unpriced_calls + (reply.cost_usd is None),
            unpriced_tokens=total.unpriced_tokens + (0 if reply.cost_usd is not None else _sum(reply.tokens)),
        )
    return total


def _sum(tokens: Tokens) -> int:
    return tokens.prompt + tokens.completion


def _tried(state: State, failed: tuple[Try, ...]) -> State:
    for one in failed:
        begun = one.tokens
        state = msgspec.structs.replace(
            state,
            failed_calls=state.failed_calls + 1,
            lost_prompt_tokens=state.lost_prompt_tokens + (begun.prompt if begun else 0),
            lost_completion_tokens=state.lost_completion_tokens + (begun.completion if begun else 0),
        )
        if one.timed_out:
            state = _timed(state, one.model, one.ms)
    return state


def _timed(state: State, model: str, ms: int) -> State:
    latencies = (*state.latencies.get(model, ()), ms)[-KEPT_LATENCIES:]
    return msgspec.structs.replace(state, latencies={**state.latencies, model: latencies})
