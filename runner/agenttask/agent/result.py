"""Pure: what a tool call gives back, and in whose name it is made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """What the model is told, and whether the tool did what it was asked."""

    text: str
    ok: bool


@dataclass(frozen=True, kw_only=True)
class Caller:
    """On whose behalf tools run."""

    namespace: str
    name: str
    uid: str
    attempt: int


NOT_SURE = "; whether the call took effect is not known"
"""Behind the words about a call that must not run twice and was given up half-way."""


def error(text: str) -> ToolResult:
    """A call that failed."""
    return ToolResult(text=f"error: {text}", ok=False)


def cut(output: bytes, *, limit: int, whole: int | None) -> str:
    """The output as text of at most `limit` bytes; `whole` is its true size where that is known."""
    text = output[:limit].decode(errors="replace")
    if (whole or len(output)) <= limit:
        return text
    of = f" of {whole}" if whole is not None else ""
    return f"{text}\n[cut: the first {limit}{of} bytes]"
