"""Pure: what to do about a call in doubt. Evidence → the event that settles it, or somebody is needed.

its own runner left its outcome behind ──────────────────▶ that is its result
the probe says it took effect ───────────────────────────▶ so is that
the probe says it did not, or the tool may run twice now ─▶ run it again, if nobody can still be running it
else ── onDoubt: TellModel ──────────────────────────────▶ a result that says so
                 Fail ───────────────────────────────────▶ the end of the run
                 Stall ──────────────────────────────────▶ somebody has to find out
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from agenttask.agent.events import Ended, Intended, Settled, ToolReturned
from agenttask.agent.state import Call
from agenttask.contract import MAX_UNREPORTED, Outcome, RunnerReason, Tool

NOT_KNOWN: Final = (
    "error: the runner was lost while this call ran, and whether it took effect is not known. "
    "Find that out before you do it again."
)
"""What the model is told where the policy is to tell it."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What a probe said: whether the call took effect (None: it does not know), and its result, or why not."""

    done: bool | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of a call in doubt."""

    late: ToolReturned | None
    """What its own runner left behind."""
    probed: Probed | None
    """None: there is no probe, or no need of one."""
    over: bool
    """Its own runner is known to have ended."""


@dataclass(frozen=True, kw_only=True)
class Unsettled:
    """Somebody has to find out; `why` is a sentence about the call."""

    why: str


Verdict: TypeAlias = ToolReturned | Intended | Ended | Unsettled


def settle(*, call: Call, tool: Tool | None, evidence: Evidence) -> Verdict:
    """What follows. `tool` is what the task says of it now; None: it has no such tool any more."""
    if (late := evidence.late) is not None:
        return msgspec.structs.replace(late, call=call.id, tool=call.tool, by=Settled.LATE)
    if (probed := evidence.probed) is not None and probed.done:
        return _returned(call, probed.text, ok=True, by=Settled.PROBE)
    if evidence.over and (spoken := _may_run_again(tool, probed)) is not None:
        return Intended(calls=(call.id,), by=spoken)
    why = _why(call, tool, evidence)
    match tool.on_doubt if tool is not None else "Stall":
        case "TellModel":
            return _returned(call, NOT_KNOWN, ok=False, by=Settled.POLICY)
        case "Fail":
            return Ended(outcome=Outcome.FAILED, reason=RunnerReason.IN_DOUBT, message=f"in doubt: {why}")
        case _:
            return Unsettled(why=why)


def is_over(*, intended_by: int, attempt: int, unreported: Sequence[int] | None) -> bool:
    """Whether the runner of an older attempt is known to have ended, judged by the newest one.

    `unreported` are attempts of which that is not known; None: nothing is known.
    """
    if unreported is None or intended_by >= attempt or intended_by in unreported:
        return False
    return len(unreported) < MAX_UNREPORTED or intended_by > min(unreported)


def _may_run_again(tool: Tool | None, probed: Probed | None) -> Settled | None:
    """What speaks for it, provided that nobody is running the call still."""
    if probed is not None and probed.done is False:
        return Settled.PROBE
    return Settled.EDIT if tool is not None and tool.recovery == "Idempotent" else None


def _why(call: Call, tool: Tool | None, evidence: Evidence) -> str:
    lost = f"call {call.id} of {call.tool} was begun by attempt {call.intent}, which was lost before its result was"
    if tool is None:
        return f"{lost}; the task has no such tool any more"
    if evidence.probed is not None and evidence.probed.done is None:
        return f"{lost}; its probe does not know: {evidence.probed.text}"
    if evidence.probed is not None or tool.recovery == "Idempotent":
        return f"{lost}; it cannot be run again as long as attempt {call.intent} may still be running it"
    return lost


def _returned(call: Call, text: str, *, ok: bool, by: Settled) -> ToolReturned:
    return ToolReturned(call=call.id, tool=call.tool, text=text, ok=ok, ms=0, by=by)
