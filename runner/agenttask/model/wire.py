"""Requests and replies of the chat-completions API, as bytes. Pure.

The same state gives the same bytes on every machine and after every resume, and a longer conversation gives bytes that
begin alike: providers charge less for a prefix they know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agenttask.agent.events import Tokens
from agenttask.agent.reducer import BYTES_PER_TOKEN, MAX_DEPTH, is_deeper
from agenttask.contract import Tool
from agenttask.model.failures import BadReplyError

MAX_TOKENS = 10**9
"""Of one call; more is no number of tokens."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One whole reply, as received."""

    message: dict[str, Any]
    finish_reason: str
    tokens: Tokens
    model: str


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None


class _ToolCall(msgspec.Struct):
    function: _Function


class _Message(msgspec.Struct):
    content: Any = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    message: msgspec.Raw
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    model: str | None = None
    usage: Any = None


def tool_schema(tool: Tool) -> dict[str, Any]:
    """A tool as the model is told of it."""
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }


def encode_request(
    *,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    max_tokens: int | None = None,
) -> bytes:
    """The request's body. Keys are sorted, since what comes back from a store may have lost its order.

    What may differ from call to call stands behind the conversation.
    """
    body: dict[str, Any] = {"model": model, "messages": messages}
    if tools:
        body["tools"] = tools
    encoded = msgspec.json.encode(body, order="sorted")
    if max_tokens is None:
        return encoded
    return encoded[:-1] + b"," + msgspec.json.encode({"max_tokens": max_tokens})[1:]


def decode_reply(body: bytes, *, request_bytes: int, model: str) -> Reply:
    """The reply in a 200's body.

    Raises `BadReplyError` unless it is whole: a choice, well-formed calls, a finish reason.
    """
    try:
        completion = msgspec.json.decode(_without_surrogates(body), type=_Completion)
        if not completion.choices:
            raise BadReplyError("the reply has no choice")
        choice = completion.choices[0]
        msgspec.json.decode(choice.message, type=_Message)
        message: dict[str, Any] = msgspec.json.decode(choice.message)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadReplyError(f"the reply is not a chat completion: {error}") from error
    if is_deeper(message, than=MAX_DEPTH):
        raise BadReplyError("the reply is nested too deep")
    if not choice.finish_reason:
        raise BadReplyError("the reply has no finish reason, so it may not be whole")
    return Reply(
        message=message,
        finish_reason=choice.finish_reason,
        tokens=_tokens(completion.usage, request_bytes=request_bytes, reply_bytes=len(choice.message)),
        model=completion.model or model,
    )


def _without_surrogates(body: bytes) -> bytes:
    """Models do cut an escaped pair of surrogates in half; such a half has no UTF-8 and becomes a question mark."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return body
    try:
        return json.dumps(json.loads(body), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return body


def _tokens(usage: object, *, request_bytes: int, reply_bytes: int) -> Tokens:
    """The reported numbers if both can be true: the status would refuse others, and all that stands beside them."""
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt is not None and completion is not None:
        return Tokens(prompt=prompt, completion=completion)
    return Tokens(
        prompt=request_bytes // BYTES_PER_TOKEN + 1, completion=reply_bytes // BYTES_PER_TOKEN + 1, estimated=True
    )


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None
