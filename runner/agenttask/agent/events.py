"""What can happen in an agent's run: the vocabulary of the log's records, as the agent reads them.

An event is written once and read for ever, so each field is a promise: fields are added, never renamed, and decoding
ignores what it does not know. `Claimed` alone is never written as an event: it stands for the claim record that begins
an attempt, so that a fold sees where one attempt ends and the next begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeAlias

import msgspec

from agenttask.contract import Wake

CUT: Final = frozenset({"length", "content_filter"})
"""Finish reasons of replies that are not whole."""


class _Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type"):
    """Base of all events: JSON objects whose `type` says which."""

    passing: ClassVar[frozenset[str]] = frozenset()
    """Keys that may differ when the same work is done again; they stay out of the log's progress digest."""


class Tokens(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Tokens of one model call. `estimated` marks numbers the endpoint did not report."""

    prompt: int
    completion: int
    cached: int = 0
    """Of `prompt`: what the endpoint had seen before, and charges less for."""
    reasoning: int = 0
    """Of `completion`: what the model thought without saying it."""
    estimated: bool = False


class Try(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A try at a model call that failed."""

    model: str
    message: str
    ms: int
    timed_out: bool = False
    tokens: Tokens | None = None
    """What it probably cost all the same, where a reply had begun; estimated."""


class Charge(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What work cost that is not counted step by step: what a rewind has abandoned, or what a fork inherits."""

    model_calls: int = 0
    tool_calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced_calls: int = 0
    unpriced_tokens: int = 0

    def plus(self, other: Charge) -> Charge:
        """Both together."""
        return Charge(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Claimed(_Event, frozen=True, tag="claimed"):
    """A new attempt begins, and goes on from a state before the newest if it has a charge."""

    attempt: int
    charge: Charge | None = None


class Started(_Event, frozen=True, tag="started"):
    """The run begins: everything that shapes the first request is frozen here."""

    prompt: str
    system_prompt: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    """Tool schemas as they are sent, in the order of the task's list."""
    finish: bool = False
    """The answer is given by calling the tool `finish`."""
    program: bool = False
    """It is the run of a program, and not of an agent."""


class Reconfigured(_Event, frozen=True, tag="reconfigured"):
    """The task was edited between two attempts, so that requests look different from here on."""

    system_prompt: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    finish: bool = False


class Replied(_Event, frozen=True, tag="replied"):
    """The model's reply, as received: unknown fields and argument strings included."""

    message: dict[str, Any]
    finish_reason: str
    tokens: Tokens
    model: str
    """The model's name as the endpoint reports it, else as it was asked for."""
    asked: str
    """Its name as it was asked for."""
    ms: int
    """Time from the request that succeeded to its whole reply, in milliseconds."""
    first_ms: int
    """Time from that request to the first token."""
    cost_usd: Decimal | None = None
    """None: it has no price anybody knows."""
    failed: tuple[Try, ...] = ()
    """What was tried before this reply came."""

    passing: ClassVar[frozenset[str]] = frozenset({"ms", "firstMs", "failed"})

    @property
    def is_cut(self) -> bool:
        """Whether its end is missing, so that none of its tool calls may run."""
        return self.finish_reason in CUT

    @property
    def calls(self) -> Sequence[dict[str, Any]]:
        """The tool calls it asks for."""
        return () if self.is_cut else self.message.get("tool_calls") or ()


class ModelSwitched(_Event, frozen=True, tag="modelSwitched"):
    """From here on another model of the task's chain is asked."""

    link: int
    """Its place in the chain; 0 is the first."""
    model: str
    why: str
    failed: tuple[Try, ...] = ()

    passing: ClassVar[frozenset[str]] = frozenset({"type", "link", "model", "why", "failed"})


class Settled(StrEnum):
    """What put an end to the doubt about a call."""

    LATE = "Late"
    """Its own runner, which had lost the log by then, left its outcome behind."""
    PROBE = "Probe"
    """The tool's probe knew."""
    POLICY = "Policy"
    """Nothing: the model is told that it is not known."""
    EDIT = "Edit"
    """The task was edited, and the tool may run twice now."""


class Intended(_Event, frozen=True, tag="intended"):
    """These calls are about to run and must not run twice: an attempt lost from here on leaves them in doubt."""

    calls: tuple[str, ...]
    by: Settled | None = None
    """What spoke for running them once more after a doubt."""

    passing: ClassVar[frozenset[str]] = frozenset({"type", "calls", "by"})


class Withdrawn(_Event, frozen=True, tag="withdrawn"):
    """These calls have not begun after all, and their attempt begins none any more."""

    calls: tuple[str, ...]

    passing: ClassVar[frozenset[str]] = frozenset({"type", "calls"})


class ToolReturned(_Event, frozen=True, tag="toolReturned"):
    """What one tool call gave back, failures included."""

    call: str
    """The call's identity, `<seq of the reply>.<index>`."""
    tool: str
    text: str
    """What the model is told."""
    ok: bool
    ms: int
    by: Settled | None = None
    """What settled the call, if its outcome was in doubt."""

    passing: ClassVar[frozenset[str]] = frozenset({"ms"})


class CameToLight(_Event, frozen=True, tag="cameToLight"):
    """How a call ended of which the model was told something else, or which has run once more since."""

    call: str
    tool: str
    text: str
    ok: bool
    repeated: bool = False
    """It has run once more since: this is how its first run ended."""


class Dropped(_Event, frozen=True, tag="dropped"):
    """Requests have grown too long: from here on they leave out what old tool calls returned."""

    before: int
    """Those that lie before the conversation's message of this number."""
    room: int
    """Tokens that the next request is to have at most, or there is more to leave out."""


class Summarised(_Event, frozen=True, tag="summarised"):
    """From here on requests have a summary in place of the conversation's first messages."""

    before: int
    """How many."""
    reply: Replied | None = None
    """The summary; None: none could be had."""

    passing: ClassVar[frozenset[str]] = frozenset({"reply"})


class AnswerRefused(_Event, frozen=True, tag="answerRefused"):
    """The model's answer has not the form it must have, and the model is asked for another."""

    why: str


class Stopped(_Event, frozen=True, tag="stopped"):
    """The attempt ended on purpose, and says whether it left a model call behind whose reply it never saw."""

    reason: str
    calling: bool = False
    failed: tuple[Try, ...] = ()
    """What was tried before the models were given up for now."""

    passing: ClassVar[frozenset[str]] = frozenset({"type", "reason", "calling", "failed"})


class Parked(_Event, frozen=True, tag="parked"):
    """The run waits, and its attempt ends. The number of this event's record is the park's identity."""

    reason: str
    message: str
    wake: Wake
    calls: tuple[str, ...] = ()
    """Calls of the newest reply that ask for nothing but this wait."""
    failed: tuple[Try, ...] = ()
    """What was tried before the models were given up for now."""

    passing: ClassVar[frozenset[str]] = frozenset({"type", "reason", "message", "wake", "calls", "failed"})


class Woken(_Event, frozen=True, tag="woken"):
    """The wait is over, and the calls that asked for it have their result."""

    time: str
    """Time of day, RFC 3339 in UTC: what the model is told."""

    passing: ClassVar[frozenset[str]] = frozenset({"type", "time"})


class Item(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What lies in a program's folder under a path: a file, a link if it has a target, else a folder."""

    path: str
    """Below the program's folder, with slashes."""
    mode: int = 0
    """Permission bits."""
    size: int = 0
    digest: str = ""
    """SHA-256 of a file's content, hexadecimal; of nothing else."""
    content: bytes | None = None
    """Of a small file; a larger one's is attached to the record."""
    target: str | None = None

    @property
    def is_attached(self) -> bool:
        """Whether its content is not here."""
        return bool(self.digest) and self.content is None


class Stored(_Event, frozen=True, tag="stored"):
    """The program's folder, as what differs from when it was stored before, and how far the program says it is."""

    changed: tuple[Item, ...] = ()
    gone: tuple[str, ...] = ()
    step: int = 0
    total: int = 0
    text: str = ""

    passing: ClassVar[frozenset[str]] = frozenset({"text"})


class Ended(_Event, frozen=True, tag="ended"):
    """The run is over; this is the event of the final record."""

    outcome: str
    reason: str
    message: str
    answer: str = ""


Event: TypeAlias = (
    Claimed
    | Started
    | Reconfigured
    | Replied
    | ModelSwitched
    | Intended
    | Withdrawn
    | ToolReturned
    | CameToLight
    | Dropped
    | Summarised
    | AnswerRefused
    | Stopped
    | Parked
    | Woken
    | Stored
    | Ended
)


VOLATILE = "volatile"
"""The log's key for what stays out of its progress digest."""


def replies_in(events: Iterable[Event]) -> list[Replied]:
    """The replies of models that events bring, as steps or as summaries."""
    brought = (event.reply if isinstance(event, Summarised) else event for event in events)
    return [reply for reply in brought if isinstance(reply, Replied)]


def encode(event: Event) -> dict[str, Any]:
    """The event as plain JSON values, for the log."""
    plain: dict[str, Any] = msgspec.to_builtins(event)
    passing = {key: plain.pop(key) for key in event.passing if key in plain}
    return {**plain, VOLATILE: passing} if passing else plain


def decode(plain: dict[str, Any]) -> Event:
    """The event a record holds. Raises msgspec.ValidationError for one of an unknown type."""
    event: Event = msgspec.convert({**plain, **plain.get(VOLATILE, {})}, Event)
    return event
