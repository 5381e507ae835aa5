"""One line per event: JSON on stdout in a pod, words on stderr for a person. Never contents, never keys."""

from __future__ import annotations

from typing import Any, Protocol, TextIO

import msgspec

from agenttask.agent.events import (
    AnswerRefused,
    CameToLight,
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
    Withdrawn,
    Woken,
)
from agenttask.agent.state import State
from agenttask.clock import Clock
from agenttask.log import RecordRef
from agenttask.terminal import safe


class Lines(Protocol):
    """Where lines go."""

    def say(self, event: str, **facts: Any) -> None:
        """One thing that happened."""
        ...


class JsonLines:
    """For log collectors."""

    def __init__(self, *, out: TextIO, clock: Clock, attempt: int) -> None:
        self._out = out
        self._clock = clock
        self._attempt = attempt

    def say(self, event: str, **facts: Any) -> None:
        time = self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": time, "event": event, "attempt": self._attempt, **facts}
        self._out.write(msgspec.json.encode(line).decode() + "\n")
        self._out.flush()


class PlainLines:
    """For a person."""

    def __init__(self, *, out: TextIO) -> None:
        self._out = out

    def say(self, event: str, **facts: Any) -> None:
        words = "  ".join(f"{name}={_plain(value)}" for name, value in facts.items() if value not in (None, [], ()))
        line = f"{event:<12} {words}"
        self._out.write((safe(line) if self._out.isatty() else line) + "\n")
        self._out.flush()


class LineWitness:
    """Says what became durable."""

    def __init__(self, *, lines: Lines) -> None:
        self._lines = lines

    def recorded(self, *, events: tuple[Event, ...], state: State, head: RecordRef) -> None:
        for event in events:
            name, facts = describe(event)
            step = state.step if state.program is None else state.program.step
            self._lines.say(name, seq=head.seq, step=step, **facts)


def describe(event: Event) -> tuple[str, dict[str, Any]]:
    """An event's name and facts for a line."""
    match event:
        case Replied():
            return "reply", {
                "ms": event.ms,
                "model": event.model,
                "finish": event.finish_reason,
                "calls": [call["function"]["name"] for call in event.message.get("tool_calls") or ()],
                "promptTokens": event.tokens.prompt,
                "completionTokens": event.tokens.completion,
                "costUSD": None if event.cost_usd is None else str(event.cost_usd),
                "failedTries": len(event.failed),
            }
        case Intended() | Withdrawn() | ToolReturned() | CameToLight():
            return _describe_call(event)
        case Dropped() | Summarised():
            return type(event).__name__.lower(), {"messages": event.before}
        case AnswerRefused():
            return "refused", {}
        case ModelSwitched() | Stored() | Ended() | Stopped() | Parked() | Woken() | Claimed():
            return _describe_rare(event)
        case Started() | Reconfigured():
            return type(event).__name__.lower(), {"tools": len(event.tools)}


def _describe_rare(
    event: ModelSwitched | Stored | Ended | Stopped | Parked | Woken | Claimed,
) -> tuple[str, dict[str, Any]]:
    match event:
        case Stored():
            changed, gone = event.changed, event.gone
            return "stored", {"changed": len(changed), "gone": len(gone), "bytes": sum(item.size for item in changed)}
        case ModelSwitched():
            return "model-switched", {"model": event.model, "why": event.why, "failedTries": len(event.failed)}
        case Ended():
            return "ended", {"outcome": event.outcome, "reason": event.reason}
        case Stopped():
            return "stopped", {"reason": event.reason}
        case Parked():
            return "parked", {"reason": event.reason, "message": event.message}
        case Woken() | Claimed():
            return type(event).__name__.lower(), {}


def _describe_call(event: Intended | Withdrawn | ToolReturned | CameToLight) -> tuple[str, dict[str, Any]]:
    match event:
        case Intended():
            return "intended", {"calls": list(event.calls), **({"again": event.by} if event.by else {})}
        case Withdrawn():
            return "withdrawn", {"calls": list(event.calls)}
        case CameToLight():
            return "came-to-light", {
                "call": event.call,
                "tool": event.tool,
                "ok": event.ok,
                "ranTwice": event.repeated,
            }
        case ToolReturned():
            size = len(event.text.encode())
            facts = {"call": event.call, "tool": event.tool, "ok": event.ok, "ms": event.ms, "bytes": size}
            return "tool", {**facts, "settledBy": event.by} if event.by else facts


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
