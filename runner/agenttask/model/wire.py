"""Requests and replies of the chat-completions API, as bytes. Pure.

The same state gives the same bytes on every machine and after every resume, and a longer conversation gives bytes that
begin alike: providers charge less for a prefix they know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum, auto
from typing import Any, Final

import msgspec

from agenttask.agent.events import Tokens
from agenttask.agent.reducer import BYTES_PER_TOKEN, MAX_DEPTH, is_deeper
from agenttask.agent.state import AUTHOR
from agenttask.contract import Tool
from agenttask.model.failures import BadReplyError

SLEEP = "Waits for so many seconds before you go on."
"""Description of a sleep tool that has none."""
MAX_TOKENS = 10**9
"""Of one call; more is no number of tokens."""
MAX_REPLY_BYTES: Final = 2 * 1024 * 1024
"""Far below what one record of the log may hold."""
RESERVED: Final = frozenset({"model", "messages", "tools", "tool_choice", "stream", "stream_options", "n"})
"""Fields of a request that no provider option may set."""
LIMITS: Final = ("max_tokens", "max_completion_tokens")
"""Names of a reply's length limit; some models know the second only, and their options then have it."""


class Mode(Enum):
    """How a reply is asked for. Not every endpoint has all of them."""

    STREAM_WITH_USAGE = auto()
    STREAM = auto()
    WHOLE = auto()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One whole reply, as received."""

    message: dict[str, Any]
    finish_reason: str
    tokens: Tokens
    model: str
    cost_usd: Decimal | None = None
    """What the endpoint itself says that it charged."""


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
    parameters, description = tool.parameters, tool.description
    if tool.sleep is not None:
        seconds = {"type": "integer", "minimum": 1, "maximum": tool.sleep.max_seconds}
        parameters = {"type": "object", "properties": {"seconds": seconds}, "required": ["seconds"]}
        description = description or SLEEP
    return {
        "type": "function",
        "function": {"name": tool.name, "description": description, "parameters": parameters},
    }


def addressed(messages: Sequence[Mapping[str, Any]], *, model: str, author: str) -> list[Mapping[str, Any]]:
    """The conversation as this model is sent it: of other models' replies only what every model understands.

    `author` is the model of all replies that name none.
    """
    return [_addressed(message, model=model, author=author) for message in messages]


def _addressed(message: Mapping[str, Any], *, model: str, author: str) -> Mapping[str, Any]:
    if message["role"] != "assistant":
        return message
    if message.get(AUTHOR, author) in {model, ""}:
        return {key: value for key, value in message.items() if key != AUTHOR} if AUTHOR in message else message
    plain = {key: message[key] for key in ("role", "content") if key in message}
    if "tool_calls" in message:
        plain["tool_calls"] = [_plain_call(call) for call in message["tool_calls"]]
    return plain


def _plain_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {
        "id": call["id"],
        "type": call["type"],
        "function": {"name": function["name"], "arguments": function["arguments"]},
    }


def encode_request(
    *,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    mode: Mode,
    max_tokens: int | None = None,
    tool_choice: str | None = None,
) -> bytes:
    """The request's body, with a reply of at most `max_tokens`, or of fewer if the options say so.

    Keys are sorted, since what comes back from a store may have lost its order. What may differ from call to call
    stands behind the conversation.
    """
    body: dict[str, Any] = {**options, "model": model, "messages": messages}
    if tools:
        body["tools"] = tools
        if tool_choice is not None:
            body["tool_choice"] = tool_choice
    if mode is not Mode.WHOLE:
        body["stream"] = True
    if mode is Mode.STREAM_WITH_USAGE:
        body["stream_options"] = {"include_usage": True}
    if max_tokens is None:
        return msgspec.json.encode(body, order="sorted")
    name = next((one for one in LIMITS if one in options), LIMITS[0])
    wanted = body.pop(name, None)
    limit = min(wanted, max_tokens) if isinstance(wanted, int) else max_tokens
    return msgspec.json.encode(body, order="sorted")[:-1] + b"," + msgspec.json.encode({name: limit})[1:]


def decode_reply(body: bytes, *, request_bytes: int, model: str) -> Reply:
    """The reply in a 200's body.

    Raises `BadReplyError` unless it is whole: a choice, well-formed calls, a finish reason.
    """
    try:
        completion = msgspec.json.decode(without_surrogates(body), type=_Completion)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadReplyError(f"the reply is not a chat completion: {error}") from error
    if not completion.choices:
        raise BadReplyError("the reply has no choice")
    choice = completion.choices[0]
    return whole_reply(
        message=choice.message,
        finish_reason=choice.finish_reason,
        usage=completion.usage,
        request_bytes=request_bytes,
        model=completion.model or model,
    )


def whole_reply(
    *, message: bytes | msgspec.Raw, finish_reason: str | None, usage: object, request_bytes: int, model: str
) -> Reply:
    """The reply with this message (JSON). Raises `BadReplyError` if it is not whole or makes no sense."""
    try:
        msgspec.json.decode(message, type=_Message)
        decoded: dict[str, Any] = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadReplyError(f"the reply is not a chat completion: {error}") from error
    if len(bytes(message)) > MAX_REPLY_BYTES:
        raise BadReplyError(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
    if is_deeper(decoded, than=MAX_DEPTH):
        raise BadReplyError("the reply is nested too deep")
    if not finish_reason:
        raise BadReplyError("the reply has no finish reason, so it may not be whole")
    return Reply(
        message=decoded,
        finish_reason=finish_reason,
        tokens=_tokens(usage, request_bytes=request_bytes, reply_bytes=len(bytes(message))),
        model=model,
        cost_usd=_cost(usage),
    )


def estimated_tokens(*, request_bytes: int, reply_bytes: int) -> Tokens:
    """A guess, and marked as one."""
    return Tokens(
        prompt=request_bytes // BYTES_PER_TOKEN + 1, completion=reply_bytes // BYTES_PER_TOKEN + 1, estimated=True
    )


def without_surrogates(body: bytes) -> bytes:
    """Models do cut an escaped pair of surrogates in half; such a half has no UTF-8 and becomes a question mark."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return body
    try:
        return json.dumps(json.loads(body), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return body


def _tokens(usage: object, *, request_bytes: int, reply_bytes: int) -> Tokens:
    """The reported numbers if they can be true: the status would refuse others, and all that stands beside them."""
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt is None or completion is None or not isinstance(usage, dict):
        return estimated_tokens(request_bytes=request_bytes, reply_bytes=reply_bytes)
    # DeepSeek's own API counts cached tokens beside the others, everybody else in the details.
    cached = _count(usage.get("prompt_tokens_details"), "cached_tokens") or _count(usage, "prompt_cache_hit_tokens")
    reasoning = _count(usage.get("completion_tokens_details"), "reasoning_tokens")
    return Tokens(
        prompt=prompt,
        completion=completion,
        cached=min(cached or 0, prompt),
        reasoning=min(reasoning or 0, completion),
    )


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def _cost(usage: object) -> Decimal | None:
    """OpenRouter says what a call cost, in US dollars."""
    value = usage.get("cost") if isinstance(usage, dict) else None
    if type(value) not in {int, float}:
        return None
    try:
        cost = Decimal(str(value))
    except InvalidOperation:
        return None
    return cost if cost.is_finite() and 0 <= cost < MAX_TOKENS else None
