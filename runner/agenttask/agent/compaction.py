"""Pure: when a conversation has become too long, what is left out of it next, and how the model is to sum it up.

    too long ──▶ drop the results of old tool calls ──still above half──▶ put all but the newest turns into a summary

The newest turns stay as they are, and so does the prompt. Each step is an event, made once and never again on a replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from agenttask.agent.budget import prompt_size
from agenttask.agent.reducer import estimate_tokens
from agenttask.agent.state import State, is_droppable, text_of

SUMMARY_TOKENS: Final = 2048
"""What a summary may have at most."""
KEPT_SHARE: Final = 2
"""The newest turns stay whole, up to this part of what a request is brought down to."""
_SHOWN_CHARACTERS: Final = 2000
"""Of one message, for the summary."""
_TASK: Final = (
    "You sum up the first part of an agent's conversation, which the agent will not see any more. Write down all that "
    "it needs to go on: what was asked, what was done and found out (with names, numbers, identifiers and places as "
    "they are), what was decided and why, what is still to do. Leave out what no longer matters. Add nothing."
)


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Send no results of tool calls any more that lie before this message.

    `room` is what the next request should have at most, in tokens.
    """

    before: int
    room: int


@dataclass(frozen=True, kw_only=True)
class Summarise:
    """Have a summary made of all that lies before this message."""

    before: int


Step: TypeAlias = Drop | Summarise


def overdue(state: State, *, limit: int | None) -> Step | None:
    """What to leave out before the next request, which is to have at most `limit` tokens; None: nothing."""
    most = state.room or limit
    if most is None or prompt_size(state) <= most:
        return None
    return next_step(state, most=most if state.room else most // 2)


def next_step(state: State, *, most: int) -> Step | None:
    """The next thing to leave out to come to a request of at most `most` tokens; None: there is nothing left."""
    tail = _tail(state, tokens=most // KEPT_SHARE)
    if _can_drop(state, before=tail):
        return Drop(before=tail, room=most)
    if tail > max(state.summarised, 1):
        return Summarise(before=tail)
    whole = len(state.conversation)
    return Drop(before=whole, room=most) if _can_drop(state, before=whole) else None


def to_sum_up(state: State, *, before: int, share: int) -> list[dict[str, Any]]:
    """The request for a summary: of all that is sent and lies before that message, or of its newest `1/share`."""
    parts = [f"Summary of what came before:\n{state.summary}"] if state.summarised else []
    parts += [_shown(state.sent(index)) for index in range(state.summarised, before)]
    text = "\n\n".join(parts)
    return [{"role": "system", "content": _TASK}, {"role": "user", "content": text[-(len(text) // share) :]}]


def _tail(state: State, *, tokens: int) -> int:
    """Where the newest turns begin that have at most so many tokens together; the newest one is always among them."""
    begins, size = len(state.conversation), 0
    for index in range(len(state.conversation) - 1, state.summarised - 1, -1):
        size += estimate_tokens(state.sent(index))
        if size > tokens and begins < len(state.conversation):
            break
        if state.conversation[index]["role"] != "tool":
            begins = index
    return begins


def _can_drop(state: State, *, before: int) -> bool:
    since = max(state.dropped, state.summarised)
    return any(is_droppable(message) for message in state.conversation[since:before])


def _shown(message: dict[str, Any]) -> str:
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    words = [text_of(message.get("content")), *(f"calls {call['name']} with {call['arguments']}" for call in calls)]
    return f"{message['role']}: " + "\n".join(_cut(word) for word in words if word)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
