"""What people see: tables, conversations, sizes and ages; JSON for scripts; a counter on stderr while it takes long.

Models and tools said much of what is printed, so no control character of theirs reaches a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from textwrap import indent
from typing import Any, Final, TextIO

from agenttask.logtool.story import (
    AttemptBegan,
    AttemptStopped,
    Configured,
    Entry,
    FolderStored,
    GoesOn,
    Message,
    OtherModel,
    Over,
    Reply,
    Result,
    RunsAgain,
    Shortened,
    Waits,
)
from agenttask.terminal import safe

CUT_AT: Final = 2000
"""Characters of a text that are shown unless all are asked for."""


class Screen:
    """Where a command's answer goes: `out` is for it alone."""

    def __init__(self, *, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._counting = False

    def say(self, text: str) -> None:
        """A line of the answer; into a file it goes as it is."""
        shown = safe(text) if self._out.isatty() else text.encode(errors="replace").decode()
        self._out.write(shown + "\n")

    def json(self, value: Any) -> None:
        """The answer as JSON."""
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        self._out.write(safe(text) + "\n")  # all of these can only stand inside texts

    def warn(self, text: str) -> None:
        """A line beside the answer."""
        self.clear()
        self._err.write(safe(text) + "\n")

    def count(self, done: int, total: int) -> None:
        """How far something is; on a terminal only."""
        if self._err.isatty():
            self._err.write(f"\r{done:,} of {total:,} objects\x1b[K")
            self._err.flush()
            self._counting = True

    def clear(self) -> None:
        """Take the counter away."""
        if self._counting:
            self._err.write("\r\x1b[K")
            self._err.flush()
            self._counting = False


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as kubectl aligns them."""
    lines = [tuple(titles), *(tuple(str(cell).replace("\n", " ") for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return "\n".join("   ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def size(number: int) -> str:
    """Bytes for people."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{number} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def age(time: str, *, now: datetime) -> str:
    """How long ago a time was, as kubectl says it."""
    try:
        passed = max(timedelta(0), now - datetime.fromisoformat(time))
    except (ValueError, TypeError):
        return "?"
    seconds = int(passed.total_seconds())
    for unit, length, until in (("s", 1, 120), ("m", 60, 120 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{seconds // length}{unit}"
    return f"{seconds // 86400}d"


def story(entry: Entry, *, full: bool) -> str:
    """One entry; whatever was said is indented, so that nobody can say a heading."""
    where = f"record {entry.seq}, {entry.time}" if entry.seq else "before the oldest record"
    match entry:
        case AttemptBegan() | FolderStored():
            text = _began(entry, where) if isinstance(entry, AttemptBegan) else _stored(entry, where, full=full)
        case AttemptStopped():
            calling = "; a model call was under way" if entry.calling else ""
            text = f"=== the attempt stopped: {entry.reason}{calling} ({where})"
        case Waits():
            text = _said(f"=== the run waits without a pod: {entry.reason} ({where})", entry.message, full=full)
        case Shortened():
            how = "are summed up" if entry.summary else "are sent without what long tool calls returned"
            text = _said(f"=== the first {entry.messages} messages {how} ({where})", entry.summary, full=full)
        case GoesOn():
            text = f"=== the wait is over ({where})"
        case Configured():
            tools = f"; tools: {', '.join(entry.tools)}" if entry.tools else ""
            text = _said(f"system ({where}){tools}", entry.system_prompt, full=full)
        case OtherModel():
            text = _said(f"=== {entry.model} is asked from here on ({where})", entry.why, full=full)
        case Message():
            text = _said(f"{entry.role} ({where})", entry.text, full=full)
        case Reply():
            text = _replied(entry, where, full=full)
        case Result():
            facts = f"{entry.ms} ms, {where}" if entry.seq else where
            facts += ", failed" if entry.failed else ""
            facts += f", was in doubt: {_SETTLED.get(entry.settled_by, entry.settled_by)}" if entry.settled_by else ""
            text = _said(f"result {entry.call} {entry.tool} ({facts})", entry.text, full=full)
        case RunsAgain():
            why = _SETTLED.get(entry.settled_by, entry.settled_by)
            text = f"=== {', '.join(entry.calls)} was in doubt and runs once more: {why} ({where})"
        case Over():
            text = _said(f"=== the run is over: {entry.outcome}, {entry.reason} ({where})", entry.message, full=full)
    return text


_SETTLED: Final = {
    "Late": "its own runner left what it gave",
    "Probe": "the tool's probe knew",
    "Policy": "nobody knows, and the model was told so",
    "Edit": "the task says since that it may run twice",
}


def _stored(entry: FolderStored, where: str, *, full: bool) -> str:
    step = f"{entry.step}/{entry.total}" if entry.total else str(entry.step)
    files = [*entry.changed, *(f"{path} (gone)" for path in entry.gone)]
    facts = f"{size(entry.bytes)} in {len(entry.changed)} changed" if entry.changed else "nothing changed"
    return _said(f"step {step}: folder stored, {facts} ({where})", entry.text, "\n".join(files), full=full)


def _began(entry: AttemptBegan, where: str) -> str:
    lines = [f"=== attempt {entry.attempt} began ({where}, pod {entry.pod_uid})"]
    if entry.resumed_from:
        lines.append(f"it goes on from record {entry.resumed_from}")
    if entry.origin:
        lines.append(f"it goes on from {entry.origin}: this is a fork")
    if entry.purges:
        lines.append("it removes the log")
    if entry.repeats_model_call:
        lines.append("the attempt before it ended without a word; a model call may have been made twice")
    lines += [f"in doubt, since nobody recorded how it ended: {call}" for call in entry.in_doubt]
    lines += [entry.lost] if entry.lost else []
    lines += [f"damaged, with nothing lost: {sentence}" for sentence in entry.damage]
    return "\n    ".join(lines)


def _replied(entry: Reply, where: str, *, full: bool) -> str:
    facts = [where]
    if entry.seq:
        facts += [entry.model, f"{entry.prompt_tokens}+{entry.completion_tokens} tokens", f"{entry.ms} ms"]
        facts += [f"${entry.cost_usd}"] if entry.cost_usd else []
        facts += [entry.finish_reason] if entry.finish_reason not in ("stop", "tool_calls") else []
        facts += [f"after {entry.failed_tries} failed tries"] if entry.failed_tries else []
    step = f"step {entry.step}" if entry.step > 0 else "step of the original"
    lines = [entry.text] if entry.text else []
    for call in entry.calls:
        problem = f" ({call.problem})" if call.problem else ""
        lines.append(f"-> {call.id} {call.tool} {call.arguments}{problem}")
    return _said(f"{step} ({', '.join(facts)})", *lines, full=full)


def _said(heading: str, *texts: str, full: bool) -> str:
    bodies = [indent(_cut(text, full=full), "    ", lambda _: True) for text in texts if text]
    return "\n".join([heading, *bodies])


def _cut(text: str, *, full: bool) -> str:
    if full or len(text) <= CUT_AT:
        return text
    return f"{text[:CUT_AT]} … {len(text) - CUT_AT:,} more characters: --full shows them"
