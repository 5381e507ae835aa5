"""Pure: a log as a person reads it: the conversation in order, with what happened to its attempts in between.

What lies before the snapshot a restored state begins with is told from that snapshot: messages without their records,
and the attempts' boundaries by the step at which each began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from agenttask.agent.events import Claimed, Ended, Event, Reconfigured, Replied, Started, Stopped, ToolReturned
from agenttask.agent.reducer import reduce, text_of
from agenttask.agent.state import Call, State
from agenttask.journal import events_of
from agenttask.log import Kind, Record


class _Entry(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type"):
    """Base: `seq` and `time` are those of the record, where it is still there."""

    seq: int = 0
    time: str = ""


class AttemptBegan(_Entry, frozen=True, tag="attemptBegan"):
    """A claim."""

    attempt: int
    pod_uid: str = msgspec.field(name="podUID")
    resumed_from: int = 0
    """The record it goes on from; 0 for the first."""
    lost: str = ""
    """What it had to leave behind, as a sentence."""
    damage: tuple[str, ...] = ()
    origin: str = ""
    """Of a fork: the record it was made from."""
    repeats_model_call: bool = False
    """The attempt before ended without a word while a model call was due, so that one may have been paid for twice."""


class AttemptStopped(_Entry, frozen=True, tag="attemptStopped"):
    """An attempt's last word."""

    reason: str
    calling: bool = False


class Configured(_Entry, frozen=True, tag="configured"):
    """What shapes the requests from here on."""

    system_prompt: str = ""
    tools: tuple[str, ...] = ()


class Message(_Entry, frozen=True, tag="message"):
    """What was said to the model."""

    role: str
    text: str


class Asked(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A tool call in a reply."""

    id: str
    tool: str
    arguments: str
    problem: str = ""


class Reply(_Entry, frozen=True, tag="reply"):
    """What the model said."""

    step: int
    """0 and below: of the original of a fork."""
    text: str
    calls: tuple[Asked, ...] = ()
    model: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ms: int = 0
    failed_tries: int = 0


class Result(_Entry, frozen=True, tag="result"):
    """What a tool call gave back."""

    call: str
    tool: str
    text: str
    ms: int = 0
    failed: bool = False


class Over(_Entry, frozen=True, tag="over"):
    """The run ended."""

    outcome: str
    reason: str
    message: str = ""


Entry: TypeAlias = AttemptBegan | AttemptStopped | Configured | Message | Reply | Result | Over


def tell(*, state: State, after: int, records: Sequence[Record], claims: Iterable[Record]) -> list[Entry]:
    """The story of a log: `state` is that after record `after`, `records` follow, `claims` are all there are."""
    told = [*_before(state, _kept(claim for claim in claims if claim.seq <= after))]
    for record in records:
        for event in events_of(record):
            before, state = state, reduce(state, event, seq=record.seq)
            told += _during(event, record, before=before, after=state)
    return told


def _kept(claims: Iterable[Record]) -> list[Record]:
    """Without those that a later one has left behind."""
    kept: list[Record] = []
    for claim in sorted(claims, key=lambda claim: claim.seq):
        if (left := claim.abandoned) is not None:
            kept = [each for each in kept if each.seq < left.first]
        kept.append(claim)
    return kept


def _before(state: State, claims: list[Record]) -> Iterator[Entry]:
    """What a snapshot tells: each attempt stands before the first step it has made."""
    waiting = list(claims)
    # A fork's steps begin behind those it was given, and so does its first attempt.
    step = state.step - sum(message["role"] == "assistant" for message in state.conversation)
    if waiting and step == 0:
        yield _began(waiting.pop(0))
    if state.started:
        yield _configured(state)
    names: dict[str, str] = {}
    for message in state.conversation:
        while waiting and (waiting[0].step <= step if message["role"] == "assistant" else waiting[0].step < step):
            yield _began(waiting.pop(0))
        if message["role"] == "assistant":
            step += 1
            calls = tuple(_asked(call) for call in message.get("tool_calls") or ())
            names |= {call.id: call.tool for call in calls}
            yield Reply(step=step, text=text_of(message.get("content")), calls=calls)
        elif message["role"] == "tool":
            call = str(message["tool_call_id"])
            yield Result(call=call, tool=names.get(call, "?"), text=text_of(message.get("content")))
        else:
            yield _message(message)
    yield from (_began(claim) for claim in waiting)
    yield from (
        Result(call=call.provider_id, tool=call.tool, text=call.result)
        for call in state.calls
        if call.result is not None
    )
    if state.ended is not None:
        yield _over(state.ended)


def _during(event: Event, record: Record, *, before: State, after: State) -> Iterator[Entry]:
    at: Mapping[str, Any] = {"seq": record.seq, "time": record.time}
    fresh = after.conversation[len(before.conversation) :]
    match event:
        case Claimed():
            yield _began(record, repeats=after.repeated_model_calls > before.repeated_model_calls)
        case Started() | Reconfigured():
            yield _configured(after, **at)
        case Replied():
            yield _reply(event, after, fresh[0] if fresh else {}, **at)
            fresh = fresh[1:]
        case ToolReturned():
            yield Result(call=event.call, tool=event.tool, text=event.text, ms=event.ms, failed=not event.ok, **at)
            fresh = ()
        case Stopped():
            yield AttemptStopped(reason=event.reason, calling=event.calling, **at)
        case Ended():
            yield _over(event, **at)
    yield from (_message(message, **at) for message in fresh)


def _reply(event: Replied, state: State, message: Mapping[str, Any], **at: Any) -> Reply:
    asked = message.get("tool_calls") or ()
    return Reply(
        step=state.step,
        text=text_of(message.get("content")) or text_of(message.get("refusal")),
        calls=tuple(_called(call) for call in state.calls) if asked else (),
        model=event.model,
        finish_reason=event.finish_reason,
        prompt_tokens=event.tokens.prompt,
        completion_tokens=event.tokens.completion,
        ms=event.ms,
        failed_tries=len(event.failed),
        **at,
    )


def _called(call: Call) -> Asked:
    return Asked(id=call.id, tool=call.tool, arguments=call.arguments, problem=call.problem or "")


def _asked(call: Mapping[str, Any]) -> Asked:
    function = call["function"]
    return Asked(id=str(call["id"]), tool=str(function["name"]), arguments=str(function["arguments"]))


def _message(message: Mapping[str, Any], **at: Any) -> Message:
    return Message(role=str(message["role"]), text=text_of(message.get("content")), **at)


def _over(event: Ended, **at: Any) -> Over:
    return Over(outcome=event.outcome, reason=event.reason, message=event.message, **at)


def _configured(state: State, **at: Any) -> Configured:
    names = tuple(str(tool.get("function", tool).get("name", "?")) for tool in state.tools)
    return Configured(system_prompt=state.system_prompt or "", tools=names, **at)


def _began(claim: Record, *, repeats: bool = False) -> AttemptBegan:
    if claim.kind is not Kind.CLAIM:
        raise ValueError(f"record {claim.key} is no claim")
    left, origin = claim.abandoned, claim.origin
    return AttemptBegan(
        seq=claim.seq,
        time=claim.time,
        attempt=claim.attempt,
        pod_uid=claim.holder.pod_uid,
        resumed_from=claim.parent.seq if claim.parent else 0,
        lost=f"records {left.first} to {left.last} are left behind: {left.why}" if left else "",
        damage=claim.damage,
        origin=f"{origin.log} after record {origin.seq}" if origin else "",
        repeats_model_call=repeats,
    )
