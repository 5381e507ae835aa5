"""Requests and replies as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from agenttask.agent.events import Tokens
from agenttask.agent.state import AUTHOR
from agenttask.contract import Tool
from agenttask.model.failures import BadReplyError
from agenttask.model.wire import Mode, addressed, decode_reply, encode_request, tool_schema


def body(message: Any, *, finish: str | None = "stop", **more: Any) -> bytes:
    return msgspec.json.encode({"choices": [{"message": message, "finish_reason": finish}], **more})


def request(
    *messages: dict[str, Any],
    mode: Mode = Mode.WHOLE,
    tools: Sequence[dict[str, Any]] = (),
    options: Mapping[str, Any] = {},
    max_tokens: int | None = None,
) -> bytes:
    return encode_request(model="m", messages=messages, tools=tools, options=options, mode=mode, max_tokens=max_tokens)


def test_the_same_conversation_gives_the_same_bytes_whatever_the_order_of_its_keys() -> None:
    one = request({"role": "user", "content": "hi"}, tools=[{"b": 1, "a": {"d": 1, "c": 2}}])
    two = request({"content": "hi", "role": "user"}, tools=[{"a": {"c": 2, "d": 1}, "b": 1}])
    assert one == two


def test_a_longer_conversation_begins_with_the_bytes_of_the_shorter() -> None:
    first = {"role": "user", "content": "hi"}
    short = request(first)
    long = request(first, {"role": "assistant", "content": "ho"})
    assert long.startswith(short[: short.index(b"]")])


def test_no_tools_means_no_field() -> None:
    assert b"tools" not in request()


def test_a_reply_is_asked_for_in_pieces_with_its_usage_unless_the_endpoint_cannot() -> None:
    asked = {mode: msgspec.json.decode(request(mode=mode)) for mode in Mode}
    assert asked[Mode.STREAM_WITH_USAGE]["stream"] is True
    assert asked[Mode.STREAM_WITH_USAGE]["stream_options"] == {"include_usage": True}
    assert asked[Mode.STREAM] == {"messages": [], "model": "m", "stream": True}
    assert asked[Mode.WHOLE] == {"messages": [], "model": "m"}


def test_provider_options_are_passed_through() -> None:
    asked = msgspec.json.decode(request(options={"temperature": 0.2, "provider": {"order": ["a"]}}))
    assert asked == {"messages": [], "model": "m", "temperature": 0.2, "provider": {"order": ["a"]}}


LIMITS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "what the budget leaves": ({}, {"max_tokens": 50}),
    "what the options say, if that is less": ({"max_tokens": 20}, {"max_tokens": 20}),
    "what the budget leaves of what the options say": ({"max_tokens": 80}, {"max_tokens": 50}),
    "under the name that the model knows": ({"max_completion_tokens": 80}, {"max_completion_tokens": 50}),
}


@pytest.mark.parametrize(("options", "want"), LIMITS.values(), ids=LIMITS.keys())
def test_a_reply_has_at_most_what_the_budget_leaves(options: dict[str, Any], want: dict[str, int]) -> None:
    asked = request({"role": "user", "content": "hi"}, options=options, max_tokens=50)
    body = msgspec.json.decode(asked)
    assert {name: value for name, value in body.items() if name.startswith("max")} == want
    assert asked.index(b"messages") < asked.index(b"max_")


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "x": 1}, "index": 0}
REPLIES: list[dict[str, Any]] = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "hm"},
    {"role": "tool", "tool_call_id": "c", "content": "1"},
    {"role": "assistant", "content": "ho", "thinking": "ha", AUTHOR: "b"},
]


def test_the_model_that_wrote_the_replies_gets_them_back_as_they_came() -> None:
    sent = addressed(REPLIES, model="a", author="a")
    assert sent[:3] == REPLIES[:3]
    assert sent[3] == {"role": "assistant", "content": "ho"}


def test_another_model_gets_of_a_reply_only_what_every_model_understands() -> None:
    sent = addressed(REPLIES, model="b", author="a")
    plain = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert sent[1] == {"role": "assistant", "content": None, "tool_calls": [plain]}
    assert sent[3] == {"role": "assistant", "content": "ho", "thinking": "ha"}


def test_a_reply_is_kept_as_received() -> None:
    message = {"role": "assistant", "content": None, "x": {"y": [1, 2.5]}, "tool_calls": [{"function": {"name": "f"}}]}
    reply = decode_reply(
        body(message, finish="tool_calls", model="m-1", usage={"prompt_tokens": 3, "completion_tokens": 4, "z": 1}),
        request_bytes=100,
        model="m",
    )
    assert reply.message == message
    assert (reply.finish_reason, reply.model) == ("tool_calls", "m-1")
    assert reply.tokens == Tokens(prompt=3, completion=4)


def test_cached_and_reasoning_tokens_are_kept_apart_and_so_is_what_the_endpoint_charged() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 12},
        "cost": 0.00021,
    }
    reply = decode_reply(body({"content": "x"}, usage=usage), request_bytes=1, model="m")
    assert reply.tokens == Tokens(prompt=100, completion=20, cached=64, reasoning=12)
    assert reply.cost_usd == Decimal("0.00021")


def test_cached_tokens_as_deepseek_counts_them() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_cache_hit_tokens": 64}
    assert decode_reply(body({"content": "x"}, usage=usage), request_bytes=1, model="m").tokens.cached == 64


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        {"prompt_tokens": None, "completion_tokens": 4},
        {"prompt_tokens": -1, "completion_tokens": 4},
        {"prompt_tokens": 3, "completion_tokens": 10**30},
        {"prompt_tokens": "3", "completion_tokens": 4},
    ],
)
def test_usage_that_does_not_come_is_estimated_and_marked(usage: Any) -> None:
    reply = decode_reply(body({"content": "x" * 400}, usage=usage), request_bytes=400, model="m")
    assert reply.tokens.estimated
    assert reply.tokens.prompt == 101
    assert reply.tokens.completion > 100


BROKEN = {
    "no JSON": b"<html>",
    "no choices": b"{}",
    "an empty list of choices": b'{"choices": []}',
    "no finish reason": body({"content": "half"}, finish=None),
    "a call without a function": body({"tool_calls": [{"id": "x"}]}),
    "a call without a name": body({"tool_calls": [{"function": {"arguments": "{}"}}]}),
    "half a body": body({"content": "x"})[:-9],
    "a message nested deeper than it could be stored and sent again": body({"content": "@"}).replace(
        b'"@"', b"[" * 101 + b"]" * 101
    ),
    "nesting without end": body({"content": "@"}).replace(b'"@"', b"[" * 200_000),
}


@pytest.mark.parametrize("received", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_not_a_whole_reply_is_none(received: bytes) -> None:
    with pytest.raises(BadReplyError):
        decode_reply(received, request_bytes=1, model="m")


def test_half_a_surrogate_pair_does_not_spoil_a_reply() -> None:
    received = body({"content": "@"}).replace(b"@", b"a \\ud83d b")
    assert decode_reply(received, request_bytes=1, model="m").message == {"content": "a ? b"}


def test_a_tool_as_the_model_is_told_of_it() -> None:
    tool = Tool(name="f", recovery="Idempotent", description="does f", parameters={"type": "object"}, command=("f",))
    assert tool_schema(tool) == {
        "type": "function",
        "function": {"name": "f", "description": "does f", "parameters": {"type": "object"}},
    }
