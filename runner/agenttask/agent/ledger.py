"""Pure: the ledger of tool calls. What a call's events do to the state, and what a new attempt finds.

    open ──Intended──▶ intended ──Claimed──▶ in doubt ──ToolReturned, with what settled it──▶ done
      │ ▲                 │  ▲                  │                                             ▲
      │ └───Withdrawn─────┘  └─────Intended─────┘ again, where that is known to be right      │
      └──────────────────────ToolReturned─────────────────────────────────────────────────────┘

A call that may run twice goes from open to done at once. What becomes known of a call from which the run has gone on in
doubt is told to the model: `CameToLight`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agenttask.agent.events import CameToLight, Intended, Settled, ToolReturned, Withdrawn
from agenttask.agent.state import KEPT_DOUBTS, Call, Doubted, State


def apply(state: State, event: Intended | Withdrawn | ToolReturned | CameToLight) -> State:
    """The state after an event about a call."""
    match event:
        case Intended():
            return _intended(state, event)
        case Withdrawn():
            calls = (_changed(call, event.calls, intent=None) for call in state.calls)
            return msgspec.structs.replace(state, calls=tuple(calls))
        case ToolReturned():
            return _returned(state, event)
        case CameToLight():
            return _came_to_light(state, event)


def doubt(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """The calls as a new attempt finds them: whether what was intended has happened, it cannot know."""
    return tuple(
        msgspec.structs.replace(call, doubtful=True) if call.intent is not None and call.result is None else call
        for call in calls
    )


def _changed(call: Call, ids: tuple[str, ...], **changes: Any) -> Call:
    return msgspec.structs.replace(call, **changes) if call.id in ids else call


def _intended(state: State, event: Intended) -> State:
    attempt = state.attempts[-1].attempt if state.attempts else 0
    again = [call for call in state.doubtful_calls if call.id in event.calls]
    return msgspec.structs.replace(
        state,
        calls=tuple(_changed(call, event.calls, intent=attempt, doubtful=False) for call in state.calls),
        doubted=_noted(state, [Doubted(call=call.id, tool=call.tool, repeated=True) for call in again]),
    )


def _noted(state: State, more: list[Doubted]) -> tuple[Doubted, ...]:
    """The newest doubts; a call that is in doubt once more is there once."""
    calls = {each.call for each in more}
    return (*(each for each in state.doubted if each.call not in calls), *more)[-KEPT_DOUBTS:]


def _returned(state: State, event: ToolReturned) -> State:
    if event.by is Settled.POLICY:
        state = msgspec.structs.replace(state, doubted=_noted(state, [Doubted(call=event.call, tool=event.tool)]))
    calls = tuple(
        msgspec.structs.replace(call, result=event.text) if call.id == event.call and call.result is None else call
        for call in state.calls
    )
    if any(call.result is None for call in calls):
        return msgspec.structs.replace(state, calls=calls)
    results = tuple({"role": "tool", "tool_call_id": call.provider_id, "content": call.result} for call in calls)
    return msgspec.structs.replace(state, calls=(), conversation=(*state.conversation, *results))


def _came_to_light(state: State, event: CameToLight) -> State:
    """The model may have acted on something else, and its final answer is one such act."""
    how = "When it was first run (it has been run once more since) it returned:" if event.repeated else "It returned:"
    words = f"It is known now what became of an earlier call of the tool {event.tool}. {how}\n{event.text}"
    return msgspec.structs.replace(
        state,
        conversation=(*state.conversation, {"role": "user", "content": words}),
        doubted=tuple(each for each in state.doubted if each.call != event.call),
        answer=None,
    )
