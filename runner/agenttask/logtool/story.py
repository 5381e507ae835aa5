"""Pure: a log as a person reads it: the conversation in order, with what happened to its attempts in between.

What lies before the snapshot a restored state begins with is told from that snapshot: messages without their records,
and the attempts' boundaries by the step at which each began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from agenttask.agent.events import (
    Claimed,
    Dropped,
    Ended,
    Event,
    Intended,
    ModelSwitched,
    Parked,
    Reconfigured,
    Replied,
    Started,
    Stopped,
    Stored,
    Summarised,
    ToolReturned,
    Woken,
)
from agenttask.agent.reducer import reduce
from agenttask.agent.state import Call, State, text_of
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
    purges: bool = False
    """It removes the log."""
    repeats_model_call: bool = False
    """The attempt before ended without a word while a model call was due, so that one may have been paid for twice."""
    in_doubt: tuple[str, ...] = ()
    """Calls that must not run twice and may have run: each with its tool."""


class AttemptStopped(_Entry, frozen=True, tag="attemptStopped"):
    """An attempt's last word."""

    reason: str
    calling: bool = False


class Waits(_Entry, frozen=True, tag="parked"):
    """The run waits, and its attempt ends."""

    reason: str
    message: str


class GoesOn(_Entry, frozen=True, tag="woken"):
    """The wait is over."""


class Shortened(_Entry, frozen=True, tag="shortened"):
    """From here on requests leave out what old tool calls returned, or have a summary in place of old messages."""

    messages: int
    """How many of the conversation's messages that concerns."""
    summary: str = ""


class Configured(_Entry, frozen=True, tag="configured"):
    """What shapes the requests from here on."""

    system_prompt: str = ""
    tools: tuple[str, ...] = ()


class OtherModel(_Entry, frozen=True, tag="otherModel"):
    """Another model of the task's chain is asked from here on."""

    model: str
    why: str


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
    cost_usd: str = msgspec.field(name="costUSD", default="")
    """Empty: nobody knows."""
    ms: int = 0
    failed_tries: int = 0


class Result(_Entry, frozen=True, tag="result"):
    """What a tool call gave back."""

    call: str
    tool: str
    text: str
    ms: int = 0
    failed: bool = False
    settled_by: str = ""
    """What put an end to the doubt about it."""


class RunsAgain(_Entry, frozen=True, tag="runsAgain"):
    """Calls that were in doubt run once more."""

    calls: tuple[str, ...]
    settled_by: str


class FolderStored(_Entry, frozen=True, tag="folderStored"):
    """A program's folder was stored, and how far the program said it was."""

    step: int
    total: int
    text: str
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    bytes: int = 0
    """Of the files that had changed."""


class Over(_Entry, frozen=True, tag="over"):
    """The run ended."""

    outcome: str
    reason: str
    message: str = ""


Entry: TypeAlias = (
    AttemptBegan
    | AttemptStopped
    | Waits
    | Shortened
    | GoesOn
    | Configured
    | OtherModel
    | Message
    | Reply
    | Result
    | RunsAgain
    | FolderStored
    | Over
)


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
    step = state.step - state.summaries - sum(message["role"] == "assistant" for message in state.conversation)
    if waiting and step == 0:
        yield _began(waiting.pop(0))
    if state.started and state.program is None:
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
            repeats = after.repeated_model_calls > before.repeated_model_calls
            yield _began(record, repeats=repeats, doubts=after.doubtful_calls)
        case Started() | Reconfigured():
            yield _configured(after, **at)
        case Replied():
            yield _reply(event, after, fresh[0] if fresh else {}, **at)
            fresh = fresh[1:]
        case ModelSwitched():
            yield OtherModel(model=event.model, why=event.why, **at)
        case ToolReturned():
            yield _result(event, **at)
            fresh = ()
        case Intended() if event.by is not None:
            yield RunsAgain(calls=event.calls, settled_by=event.by, **at)
        case Stopped():
            yield AttemptStopped(reason=event.reason, calling=event.calling, **at)
        case Dropped() | Summarised():
            summary = after.summary if isinstance(event, Summarised) else ""
            yield Shortened(messages=event.before, summary=summary, **at)
        case Parked():
            yield Waits(reason=event.reason, message=event.message, **at)
        case Stored():
            yield _stored(event, **at)
        case Woken():
            yield GoesOn(**at)
            yield from _slept(before, after, **at)
            fresh = ()
        case Ended():
            yield _over(event, **at)
    yield from (_message(message, **at) for message in fresh)


def _result(event: ToolReturned, **at: Any) -> Result:
    return Result(
        call=event.call,
        tool=event.tool,
        text=event.text,
        ms=event.ms,
        failed=not event.ok,
        settled_by=event.by or "",
        **at,
    )


def _stored(event: Stored, **at: Any) -> FolderStored:
    return FolderStored(
        step=event.step,
        total=event.total,
        text=event.text,
        changed=tuple(item.path for item in event.changed),
        gone=event.gone,
        bytes=sum(item.size for item in event.changed),
        **at,
    )


def _slept(before: State, after: State, **at: Any) -> Iterator[Result]:
    """What those calls returned that asked for the wait."""
    asleep = before.wait.parked.calls if before.wait is not None else ()
    results = {call.id: call.result for call in after.calls}
    for call in before.calls:
        if call.id in asleep:
            text = results.get(call.id) or _result_of(call, after)
            yield Result(call=call.id, tool=call.tool, text=text, **at)


def _result_of(call: Call, state: State) -> str:
    """A result that has entered the conversation, with its neighbours, as the last did."""
    found = (each for each in reversed(state.conversation) if each.get("tool_call_id") == call.provider_id)
    return next((text_of(each.get("content")) for each in found), "")


def _reply(event: Replied, state: State, message: Mapping[str, Any], **at: Any) -> Reply:
    asked = message.get("tool_calls") or ()
    return Reply(
        step=state.step,
        text=text_of(message.get("content")) or text_of(message.get("refusal")),
        # The call that gives the answer is never open.
        calls=tuple(map(_called, state.calls)) or tuple(map(_asked, asked)),
        model=event.model,
        finish_reason=event.finish_reason,
        prompt_tokens=event.tokens.prompt,
        completion_tokens=event.tokens.completion,
        cost_usd="" if event.cost_usd is None else f"{event.cost_usd:.6f}",
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


def _began(claim: Record, *, repeats: bool = False, doubts: Sequence[Call] = ()) -> AttemptBegan:
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
        purges=claim.purges,
        repeats_model_call=repeats,
        in_doubt=tuple(f"{call.id} {call.tool}" for call in doubts),
    )
