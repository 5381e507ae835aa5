"""What follows for a call in doubt: evidence first, policy last, and nothing runs twice while somebody may run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from agenttask.agent.doubt import NOT_KNOWN, Evidence, Probed, Unsettled, Verdict, is_over, settle
from agenttask.agent.events import Ended, Intended, Settled, ToolReturned
from agenttask.agent.state import Call
from agenttask.contract import HttpTool, Probe, Tool

CALL = Call(id="3.0", provider_id="x", tool="pay", arguments="{}", intent=1, doubtful=True)
LATE = ToolReturned(call="3.0", tool="pay", text="paid", ok=True, ms=7)
DONE, NOT_DONE, SILENT = (
    Probed(done=True, text="paid"),
    Probed(done=False, text=""),
    Probed(done=None, text="HTTP 500"),
)


def tool(
    recovery: Literal["Idempotent", "Once", "Reconcile"] = "Once",
    on_doubt: Literal["Stall", "TellModel", "Fail"] = "Stall",
) -> Tool:
    probe = Probe(http=HttpTool(url="http://probe.test")) if recovery == "Reconcile" else None
    return Tool(name="pay", recovery=recovery, on_doubt=on_doubt, probe=probe, http=HttpTool(url="http://tool.test"))


def evidence(*, late: ToolReturned | None = None, probed: Probed | None = None, over: bool = True) -> Evidence:
    return Evidence(late=late, probed=probed, over=over)


def told(text: str, by: Settled, *, ok: bool = True, ms: int = 0) -> ToolReturned:
    return ToolReturned(call="3.0", tool="pay", text=text, ok=ok, ms=ms, by=by)


def again(by: Settled) -> Intended:
    return Intended(calls=("3.0",), by=by)


@dataclass(frozen=True, kw_only=True)
class Case:
    tool: Tool | None
    evidence: Evidence
    want: Verdict | str
    """Or what the words of a verdict without evidence hold."""


VERDICTS = {
    "what its own runner left is its result": Case(
        tool=tool(), evidence=evidence(late=LATE), want=told("paid", Settled.LATE, ms=7)
    ),
    "and counts more than a probe, or any policy": Case(
        tool=tool("Reconcile", "Fail"), evidence=evidence(late=LATE, probed=NOT_DONE),
        want=told("paid", Settled.LATE, ms=7),
    ),
    "a probe's yes is believed while its runner may live": Case(
        tool=tool("Reconcile"), evidence=evidence(probed=DONE, over=False), want=told("paid", Settled.PROBE)
    ),
    "a probe's no lets it run again once its runner has ended": Case(
        tool=tool("Reconcile"), evidence=evidence(probed=NOT_DONE), want=again(Settled.PROBE)
    ),
    "not while its runner may still be about to do it": Case(
        tool=tool("Reconcile"), evidence=evidence(probed=NOT_DONE, over=False), want="attempt 1 may still be running"
    ),
    "then the policy holds": Case(
        tool=tool("Reconcile", "TellModel"), evidence=evidence(probed=NOT_DONE, over=False),
        want=told(NOT_KNOWN, Settled.POLICY, ok=False),
    ),
    "a probe that does not know says nothing": Case(
        tool=tool("Reconcile"), evidence=evidence(probed=SILENT), want="does not know: HTTP 500"
    ),
    "a tool that may run twice since an edit runs again": Case(
        tool=tool("Idempotent"), evidence=evidence(), want=again(Settled.EDIT)
    ),
    "not beside its own runner, though": Case(
        tool=tool("Idempotent"), evidence=evidence(over=False), want="attempt 1 may still be running"
    ),
    "Once never runs again": Case(tool=tool(), evidence=evidence(), want="begun by attempt 1"),
    "the model can be told": Case(
        tool=tool(on_doubt="TellModel"), evidence=evidence(), want=told(NOT_KNOWN, Settled.POLICY, ok=False)
    ),
    "the run can fail": Case(tool=tool(on_doubt="Fail"), evidence=evidence(), want="in doubt: call 3.0 of pay"),
    "a tool that is gone leaves it to a person": Case(tool=None, evidence=evidence(), want="no such tool any more"),
}  # fmt: skip


@pytest.mark.parametrize("case", VERDICTS.values(), ids=VERDICTS.keys())
def test_verdict(case: Case) -> None:
    verdict = settle(call=CALL, tool=case.tool, evidence=case.evidence)
    if not isinstance(case.want, str):
        assert verdict == case.want
    elif isinstance(verdict, Ended):
        assert (verdict.outcome, verdict.reason) == ("Failed", "InDoubt")
        assert case.want in verdict.message
    else:
        assert isinstance(verdict, Unsettled)
        assert case.want in verdict.why


FULL = tuple(range(10, 60))
OVER: dict[str, tuple[int, tuple[int, ...] | None, bool]] = {
    "reported": (1, (), True),
    "not reported": (1, (1,), False),
    "another is not": (2, (1,), True),
    "nothing is known": (1, None, False),
    "below a full list": (9, FULL, False),
    "above the lowest of a full list": (60, FULL, True),
    "this attempt's own, by another process": (99, (), False),
}


@pytest.mark.parametrize(("intended_by", "unreported", "want"), OVER.values(), ids=OVER.keys())
def test_whether_an_attempt_is_known_to_be_over(
    intended_by: int, unreported: tuple[int, ...] | None, want: bool
) -> None:
    assert is_over(intended_by=intended_by, attempt=99, unreported=unreported) is want
