"""Pure: the state as the log's snapshots hold it, and back.

The conversation is what grows, so it is handed over item by item; what the run began with seldom changes; the rest is
small. What can be worked out from the conversation is not written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from agenttask.agent.state import State

_FIXED: Final = ("prompt", "system_prompt", "tools")
_DERIVED: Final = ("conversation", "provider_ids")


class Parts(NamedTuple):
    """A state in JSON values."""

    small: dict[str, Any]
    fixed: dict[str, Any]
    items: Sequence[Any]


def freeze(state: State) -> Parts:
    """The state as parts; no conversation is copied."""
    rest = msgspec.to_builtins(msgspec.structs.replace(state, conversation=(), provider_ids=frozenset()))
    return Parts(
        small={name: value for name, value in rest.items() if name not in (*_FIXED, *_DERIVED)},
        fixed={name: rest[name] for name in _FIXED},
        items=state.conversation,
    )


def thaw(*, small: Mapping[str, Any], fixed: Mapping[str, Any], items: Sequence[Any]) -> State:
    """The state of these parts. Raises msgspec.ValidationError for parts of another version."""
    state: State = msgspec.convert({**small, **fixed}, State)
    ids = (call["id"] for message in items for call in message.get("tool_calls") or ())
    return msgspec.structs.replace(state, conversation=tuple(items), provider_ids=frozenset(ids))
