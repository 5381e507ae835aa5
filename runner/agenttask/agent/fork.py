"""Pure: the state a fork begins with, made of the one it was forked from.

The conversation goes on; the accounts start anew, and what the original had used is kept apart. Nothing of the original
stays open: a call without a result is closed here, so that no tool runs twice because there are two histories now.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from agenttask.agent.accounts import used
from agenttask.agent.state import State

NOT_RUN: Final = "error: not run in this fork: the original had no result of this call yet"
"""Result of a call that was open."""
LEFT_BEHIND: Final = "(this result was left behind when the conversation was forked; call the tool again if it matters)"
"""Result of a call whose own one is not taken along."""


def forked(state: State, *, prompt: str | None, results: bool) -> State:
    """The first state of a fork of `state`.

    `prompt` becomes the next user message; without one the run goes on from where it was, an end taken back. Without
    `results` the conversation keeps its tool calls and not what they returned.
    """
    conversation = (*state.conversation, *_closed(state))
    if not results:
        conversation = tuple(_bare(conversation))
    if prompt is not None:
        conversation = (*conversation, {"role": "user", "content": prompt})
    return State(
        started=True,
        prompt=state.prompt if prompt is None else prompt,
        system_prompt=state.system_prompt,
        tools=state.tools,
        conversation=conversation,
        provider_ids=state.provider_ids,
        dropped=state.dropped,
        summarised=state.summarised,
        summary=state.summary,
        answer=state.answer if prompt is None else None,
        inherited=used(state),
        author=state.author,
        latencies=state.latencies,
    )


def _closed(state: State) -> tuple[dict[str, Any], ...]:
    """The results of the newest reply's calls, as they enter the conversation once all are there."""
    return tuple(
        {"role": "tool", "tool_call_id": call.provider_id, "content": NOT_RUN if call.result is None else call.result}
        for call in state.calls
    )


def _bare(conversation: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for message in conversation:
        has_result = message["role"] == "tool" and message["content"] != NOT_RUN
        yield {**message, "content": LEFT_BEHIND} if has_result else message
