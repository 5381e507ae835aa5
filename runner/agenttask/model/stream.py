"""A streamed reply, put together from its chunks. Pure.

What comes out is what the endpoint would have sent in one piece: fields nobody here knows are kept as well.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from agenttask.agent.events import Tokens
from agenttask.agent.reducer import MAX_DEPTH, is_deeper
from agenttask.model.failures import BadReplyError
from agenttask.model.wire import Reply, estimated_tokens, whole_reply, without_surrogates

END: Final = "[DONE]"
"""Data of a stream's last event. Not every endpoint sends it, so that only a finish reason makes a reply whole."""
_SENT_ONCE: Final = frozenset({"id", "type", "role", "name", "index"})
"""Fields that are no text to be continued; some endpoints repeat them in every chunk."""


class _Growing(list[str]):
    """A text in the making: joined once, at the end, since strings that grow are copied each time."""


class Assembly:
    """One reply in the making."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._usage: object = None
        self._model: str | None = None
        self._finish_reason: str | None = None
        self.received_bytes = 0
        self.begun = False
        """Whether anything of the reply itself has come."""
        self.error: bytes | None = None
        """An error that came in place of a chunk."""

    @property
    def finished(self) -> bool:
        """Whether the reply is whole; only its usage may still come."""
        return self._finish_reason is not None

    def add(self, data: str) -> bool:
        """Take one chunk; whether it carried anything of the reply. Raises `BadReplyError` for what is no chunk."""
        self.received_bytes += len(data)
        chunk = _decode(data)
        if chunk.get("error") is not None:
            self.error = data.encode(errors="replace")
            return False
        self._model = self._model or _text(chunk.get("model"))
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return False
        # An endpoint that ignores how it was asked sends the whole message in one chunk.
        delta = choice.get("delta") or choice.get("message")
        grown = isinstance(delta, dict) and self._grow(delta)
        self._finish_reason = self._finish_reason or _text(choice.get("finish_reason"))
        self.begun = self.begun or grown or self.finished
        return grown or self.finished

    def reply(self, *, request_bytes: int, model: str) -> Reply:
        """The reply. Raises `BadReplyError` unless it is whole."""
        if not self.finished:
            raise BadReplyError("the stream ended before the reply did")
        message = _grown(self._message)
        for call in message.get("tool_calls") or ():
            call.pop("index", None)
        return whole_reply(
            # Escaped, so that the halves of a pair that came in two chunks find together.
            message=without_surrogates(json.dumps(message).encode()),
            finish_reason=self._finish_reason,
            usage=self._usage,
            request_bytes=request_bytes,
            model=self._model or model,
        )

    def abandoned(self, *, request_bytes: int) -> Tokens | None:
        """What a reply that broke off probably cost, or None if nothing of it ever came."""
        if not self.begun:
            return None
        return estimated_tokens(request_bytes=request_bytes, reply_bytes=len(json.dumps(_grown(self._message))))

    def _grow(self, delta: dict[str, Any]) -> bool:
        calls = delta.pop("tool_calls", None)
        grown = any(value for key, value in delta.items() if key not in _SENT_ONCE)
        _merge(self._message, delta)
        if not isinstance(calls, list) or not calls:
            return grown
        slots = self._message.setdefault("tool_calls", [])
        for call in calls:
            if not isinstance(call, dict):
                raise BadReplyError("the reply is not a chat completion: a tool call is no object")
            _merge(_slot(slots, call), call)
        return True


def _decode(data: str) -> dict[str, Any]:
    try:
        # The standard library takes half a pair of surrogates, whose other half may be in the next chunk.
        split = "\\ud" in data or "\\uD" in data
        chunk = json.loads(data) if split else msgspec.json.decode(data)
        if is_deeper(chunk, than=MAX_DEPTH):
            raise BadReplyError("the reply is nested too deep")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadReplyError(f"the stream holds what is not JSON: {error}") from error
    if not isinstance(chunk, dict):
        raise BadReplyError("the stream holds what is no chunk of a chat completion")
    return chunk


def _slot(slots: list[dict[str, Any]], call: dict[str, Any]) -> dict[str, Any]:
    """The call that a part of one belongs to: that of its index, unless it begins another one under the same index."""
    index, name = call.get("index"), call.get("id")
    if isinstance(index, int):
        found = next((slot for slot in reversed(slots) if slot.get("index") == index), None)
    else:
        found = slots[-1] if slots else None
    if found is None or (name and found.get("id") and name != found["id"]):
        found = {}
        slots.append(found)
    return found


def _merge(into: dict[str, Any], delta: dict[str, Any]) -> None:
    """Continue `into`: texts grow, objects likewise, lists get longer, anything else is replaced."""
    for key, value in delta.items():
        known = into.get(key)
        if key in _SENT_ONCE:
            into[key] = known or value
        elif isinstance(value, str):
            if isinstance(known, _Growing):
                known.append(value)
            else:
                into[key] = _Growing([value])
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif isinstance(known, list) and isinstance(value, list) and not isinstance(known, _Growing):
            _extend(known, value)
        elif value is not None or known is None:
            into[key] = _begun(value)


def _begun(value: Any) -> Any:
    """A value that may be continued by the next chunk."""
    if isinstance(value, dict):
        begun: dict[str, Any] = {}
        _merge(begun, value)
        return begun
    return [_begun(one) for one in value] if isinstance(value, list) else value


def _grown(value: Any) -> Any:
    """The value with all its texts joined."""
    match value:
        case _Growing():
            return "".join(value)
        case dict():
            return {key: _grown(one) for key, one in value.items()}
        case list():
            return [_grown(one) for one in value]
        case _:
            return value


def _extend(known: list[Any], more: list[Any]) -> None:
    """Items with an index continue the item of that index."""
    for item in more:
        index = item.get("index") if isinstance(item, dict) else None
        place = next((one for one in known if isinstance(one, dict) and one.get("index") == index), None)
        if isinstance(item, dict) and index is not None and place is not None:
            _merge(place, item)
        else:
            known.append(_begun(item))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
