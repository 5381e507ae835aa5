"""What has been used, and what is known of the models: pure, and part of the reducer."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import msgspec

from agenttask.agent.events import Charge, Event, ModelSwitched, Parked, Replied, Stopped, Summarised, Try
from agenttask.agent.state import KEPT_LATENCIES, AttemptTally, State

GIVEN_UP = 1_000_000
"""Replies of a model that was given up: its turn is over, whatever comes next."""
_COUNTED: Final = tuple(name for name in Charge.__struct_fields__ if name != "model_calls")
"""What a charge and a state both count, under the same names."""


def replied(state: State, event: Replied | Summarised) -> State:
    """One reply more, if the event brings one."""
    reply = event.reply if isinstance(event, Summarised) else event
    if reply is None:
        return state
    tally = state.attempts[-1] if state.attempts else AttemptTally(attempt=0)
    counted = msgspec.structs.replace(
        _paid(state, _cost(event)),
        step=state.step + 1,
        attempts=(*state.attempts[:-1], msgspec.structs.replace(tally, model_calls=tally.model_calls + 1)),
        author=state.author or reply.asked,
        model=reply.asked,
        replies=state.replies + 1,
    )
    return _timed(_tried(counted, reply.failed), reply.asked, reply.first_ms)


def apply(state: State, event: ModelSwitched | Stopped | Parked) -> State:
    """Another model is in use; or the attempt ended, and if for want of a model, the first has its turn again."""
    if isinstance(event, ModelSwitched):
        moved = msgspec.structs.replace(state, link=event.link, model=event.model, replies=0)
    else:
        moved = msgspec.structs.replace(state, replies=GIVEN_UP) if event.failed and state.link else state
    return _tried(moved, event.failed)


def charged(state: State, charge: Charge) -> State:
    """A rewind left replies behind that were paid for."""
    abandoned = state.abandoned_model_calls + charge.model_calls
    return msgspec.structs.replace(_paid(state, charge), abandoned_model_calls=abandoned)


def charge_for(events: Iterable[Event]) -> Charge:
    """What a state would have counted for the replies that these events bring."""
    total = Charge()
    for event in events:
        if isinstance(event, Replied | Summarised):
            total = total.plus(_cost(event))
    return total


def used(state: State) -> Charge:
    """All that was paid for up to here, by the run itself and by those that it was forked from."""
    own = Charge(
        model_calls=state.step + state.abandoned_model_calls, **{name: getattr(state, name) for name in _COUNTED}
    )
    return own.plus(state.inherited or Charge())


def _cost(event: Replied | Summarised) -> Charge:
    """What one reply cost, the tool calls included that it asks for. A summary asks for none, whatever is in it."""
    reply = event.reply if isinstance(event, Summarised) else event
    if reply is None:
        return Charge()
    tokens = reply.tokens
    unpriced = reply.cost_usd is None
    return Charge(
        model_calls=1,
        tool_calls=len(event.calls) if isinstance(event, Replied) else 0,
        prompt_tokens=tokens.prompt,
        cached_tokens=tokens.cached,
        completion_tokens=tokens.completion,
        reasoning_tokens=tokens.reasoning,
        cost_usd=reply.cost_usd or Decimal(0),
        unpriced_calls=int(unpriced),
        unpriced_tokens=tokens.prompt + tokens.completion if unpriced else 0,
    )


def _paid(state: State, charge: Charge) -> State:
    """With a charge in the totals; the model calls among it are the caller's to count."""
    totals = {name: getattr(state, name) + getattr(charge, name) for name in _COUNTED}
    return msgspec.structs.replace(state, **totals)


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
