"""Replies in pieces: whatever the pieces, the reply is the one that came in one piece."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from agenttask.agent.events import Tokens
from agenttask.model.failures import BadReplyError
from agenttask.model.stream import Assembly
from agenttask.model.wire import MAX_REPLY_BYTES, Reply
from hypothesis import given
from hypothesis import strategies as st


def chunk(delta: Any = None, *, finish: str | None = None, **more: Any) -> str:
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return msgspec.json.encode({"choices": choices, "model": "m-1", **more}).decode()


def assembled(*chunks: str) -> Reply:
    assembly = Assembly()
    for one in chunks:
        assembly.add(one)
    return assembly.reply(request_bytes=400, model="m")


def part(index: int | None = 0, *, arguments: str = "", **more: Any) -> dict[str, Any]:
    """A part of a tool call."""
    name = more.pop("name", None)
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"tool_calls": [{**({} if index is None else {"index": index}), **more, "function": function}]}


def call(provider_id: str | None, name: str, arguments: str) -> dict[str, Any]:
    return {**({"id": provider_id} if provider_id else {}), "function": {"arguments": arguments, "name": name}}


@dataclass(frozen=True, kw_only=True)
class Case:
    deltas: list[dict[str, Any]]
    want: dict[str, Any]


CASES = {
    "text comes in pieces": Case(
        deltas=[{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}],
        want={"role": "assistant", "content": "Hello"},
    ),
    "fields nobody here knows are kept": Case(
        deltas=[{"reasoning_content": "a"}, {"reasoning_content": "b", "x": {"y": "c"}}, {"x": {"y": "d", "z": 1}}],
        want={"reasoning_content": "ab", "x": {"y": "cd", "z": 1}},
    ),
    "lists grow, and items with an index continue": Case(
        deltas=[
            {"reasoning_details": [{"index": 0, "type": "t", "text": "a"}]},
            {"reasoning_details": [{"index": 0, "text": "b", "signature": None}, {"index": 1, "text": "c"}]},
        ],
        want={
            "reasoning_details": [
                {"index": 0, "type": "t", "text": "ab", "signature": None},
                {"index": 1, "text": "c"},
            ]
        },
    ),
    "two calls, one after the other": Case(
        deltas=[
            part(0, id="a", name="f", arguments='{"n"'),
            part(0, arguments=": 1}"),
            part(1, id="b", name="g"),
            part(1, arguments="{}"),
        ],
        want={"tool_calls": [call("a", "f", '{"n": 1}'), call("b", "g", "{}")]},
    ),
    "an endpoint that repeats id and name in each piece": Case(
        deltas=[part(0, id="a", name="f", arguments="{"), part(0, id="a", name="f", arguments="}")],
        want={"tool_calls": [call("a", "f", "{}")]},
    ),
    "two calls with the same id": Case(
        deltas=[part(0, id="call_0", name="f", arguments="{}"), part(1, id="call_0", name="f", arguments="{}")],
        want={"tool_calls": [call("call_0", "f", "{}"), call("call_0", "f", "{}")]},
    ),
    "whole calls, all under the same index": Case(
        deltas=[part(0, id="a", name="f", arguments="{}"), part(0, id="b", name="g", arguments="{}")],
        want={"tool_calls": [call("a", "f", "{}"), call("b", "g", "{}")]},
    ),
    "pieces of calls without any index": Case(
        deltas=[part(None, id="a", name="f", arguments="{"), part(None, arguments="}"), part(None, id="b", name="g")],
        want={"tool_calls": [call("a", "f", "{}"), call("b", "g", "")]},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_pieces_make_the_message_that_would_have_come_in_one(case: Case) -> None:
    reply = assembled(*map(chunk, case.deltas), chunk(finish="stop"))
    assert reply.message == case.want


@given(
    text=st.text(max_size=40),
    thought=st.text(max_size=20),
    arguments=st.lists(st.text(max_size=20), max_size=3),
    cuts=st.lists(st.integers(0, 20), max_size=8),
)
def test_however_a_reply_is_cut_into_pieces_it_is_the_same_reply(
    text: str, thought: str, arguments: list[str], cuts: list[int]
) -> None:
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    for name, whole in (("reasoning_content", thought), ("content", text)):
        deltas += [{name: piece} for piece in pieces(whole, cuts)]
    for index, whole in enumerate(arguments):
        deltas.append(part(index, id=f"call_{index}", name="f"))
        deltas += [part(index, arguments=piece) for piece in pieces(whole, cuts)]
    message = assembled(*map(chunk, deltas), chunk(finish="stop")).message
    assert (message.get("content"), message.get("reasoning_content")) == (text, thought)
    assert message.get("tool_calls", []) == [call(f"call_{index}", "f", one) for index, one in enumerate(arguments)]


def pieces(text: str, cuts: list[int]) -> list[str]:
    """The text, cut there."""
    at = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[begin:end] for begin, end in pairwise(at)]


def test_finish_reason_model_and_usage_come_along() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    reply = assembled(
        chunk({"content": "x"}, finish=""),
        chunk(finish="length"),
        msgspec.json.encode({"choices": [], "usage": usage}).decode(),
    )
    assert (reply.finish_reason, reply.model, reply.tokens) == ("length", "m-1", Tokens(prompt=3, completion=4))


def test_usage_that_does_not_come_is_estimated() -> None:
    assert assembled(chunk({"content": "x"}), chunk(finish="stop")).tokens.estimated


def test_a_stream_that_ends_before_the_reply_is_no_reply() -> None:
    with pytest.raises(BadReplyError, match="ended before"):
        assembled(chunk({"content": "half"}))


def test_what_broke_off_has_probably_cost_something_and_what_never_began_has_not() -> None:
    assembly = Assembly()
    assembly.add(chunk({"role": "assistant"}))
    assert assembly.abandoned(request_bytes=400) is None
    assembly.add(chunk({"content": "x" * 400}))
    cost = assembly.abandoned(request_bytes=400)
    assert cost is not None
    assert cost.estimated
    assert (cost.prompt, cost.completion > 100) == (101, True)


def test_only_a_piece_of_the_reply_is_a_sign_of_life() -> None:
    assembly = Assembly()
    assert not assembly.add(chunk({"role": "assistant", "content": ""}))
    assert not assembly.add(msgspec.json.encode({"choices": []}).decode())
    assert assembly.add(chunk({"reasoning": "hm"}))
    assert assembly.add(chunk(part(arguments="{")))


def test_halves_of_a_surrogate_pair_find_together_and_a_lonely_one_does_no_harm() -> None:
    halves = [chunk({"content": "@"}).replace("@", half) for half in ("a\\ud83d", "\\ude00b", "c\\ud83d")]
    assert assembled(*halves, chunk(finish="stop")).message == {"content": "a\U0001f600bc?"}


def test_an_error_in_the_stream_is_an_error() -> None:
    assembly = Assembly()
    assembly.add('{"error": {"message": "overloaded", "code": 503}}')
    assert assembly.error is not None


BROKEN = {
    "no JSON": "<html>",
    "no object": "[1]",
    "half a chunk": chunk({"content": "x"})[:-9],
    "a call that is no object": chunk({"tool_calls": ["f"]}),
    "a chunk nested without end": chunk({"content": "@"}).replace('"@"', "[" * 200_000),
    "a call without a name": chunk(part(id="a"), finish="tool_calls"),
    "a reply larger than can be recorded": chunk({"content": "x" * (MAX_REPLY_BYTES + 1)}, finish="stop"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_chunk_makes_no_reply(data: str) -> None:
    with pytest.raises(BadReplyError):
        assembled(data, chunk(finish="stop"))
