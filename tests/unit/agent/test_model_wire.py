"""Requests and replies as bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from agenttask.agent.events import Tokens
from agenttask.contract import Tool
from agenttask.model.failures import BadReplyError
from agenttask.model.wire import decode_reply, encode_request, tool_schema


def body(message: Any, *, finish: str | None = "stop", **more: Any) -> bytes:
    return msgspec.json.encode({"choices": [{"message": message, "finish_reason": finish}], **more})


def test_the_same_conversation_gives_the_same_bytes_whatever_the_order_of_its_keys() -> None:
    one = encode_request(
        model="m", messages=[{"role": "user", "content": "hi"}], tools=[{"b": 1, "a": {"d": 1, "c": 2}}]
    )
    two = encode_request(
        model="m", messages=[{"content": "hi", "role": "user"}], tools=[{"a": {"c": 2, "d": 1}, "b": 1}]
    )
    assert one == two


def test_a_longer_conversation_begins_with_the_bytes_of_the_shorter() -> None:
    first = [{"role": "user", "content": "hi"}]
    short = encode_request(model="m", messages=first, tools=[])
    long = encode_request(model="m", messages=[*first, {"role": "assistant", "content": "ho"}], tools=[])
    assert long.startswith(short[: short.index(b"]")])


def test_the_limit_of_a_reply_stands_behind_the_conversation() -> None:
    free = encode_request(model="m", messages=[{"role": "user", "content": "hi"}], tools=[])
    bound = encode_request(model="m", messages=[{"role": "user", "content": "hi"}], tools=[], max_tokens=7)
    assert bound == free[:-1] + b',"max_tokens":7}'


def test_no_tools_means_no_field() -> None:
    assert b"tools" not in encode_request(model="m", messages=[], tools=[])


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
