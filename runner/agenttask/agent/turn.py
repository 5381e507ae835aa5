"""What comes next: state, budget → action. Pure, so that a resumed run and an undisturbed one decide alike."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from agenttask.agent.budget import exhausted
from agenttask.agent.events import Ended
from agenttask.agent.state import Call, State
from agenttask.contract import Budget, Outcome, RunnerReason

MAX_CUT_REPLIES = 3
"""Unusable replies in a row after which asking once more is a waste of money."""


@dataclass(frozen=True, kw_only=True)
class CallModel:
    """Send the conversation to the model."""


@dataclass(frozen=True, kw_only=True)
class Settle:
    """Find out what became of these calls, which an attempt before this one may have run."""

    calls: tuple[Call, ...]


@dataclass(frozen=True, kw_only=True)
class Intend:
    """Record that these calls are about to run."""

    calls: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunCalls:
    """Run these calls of the newest reply; those that have a result already are not among them."""

    calls: tuple[Call, ...]


@dataclass(frozen=True, kw_only=True)
class Finish:
    """Write the final record."""

    ended: Ended


Action: TypeAlias = CallModel | Settle | Intend | RunCalls | Finish


def next_action(*, state: State, budget: Budget, guarded: Collection[str] = ()) -> Action:
    """The one thing to do now, for a run that has started and not ended.

    `guarded` are the tools of which a call must not run twice.
    """
    if state.open_calls:
        return _next_for_calls(state, guarded)
    if state.answer is not None:
        return Finish(
            ended=Ended(
                outcome=Outcome.COMPLETED,
                reason=RunnerReason.COMPLETED,
                message=f"answered after {state.step} {'step' if state.step == 1 else 'steps'}",
                answer=state.answer,
            )
        )
    if state.cut_replies >= MAX_CUT_REPLIES:
        why = f"{state.cut_replies} replies in a row were cut off or empty (finish reason {state.last_finish})"
        return _failed(RunnerReason.MODEL_REFUSED, why)
    if why_not := exhausted(state=state, budget=budget):
        return _failed(RunnerReason.BUDGET_EXHAUSTED, why_not)
    return CallModel()


def _next_for_calls(state: State, guarded: Collection[str]) -> Action:
    if state.doubtful_calls:
        return Settle(calls=state.doubtful_calls)
    if unsaid := tuple(call.id for call in state.open_calls if _needs_intent(call, guarded)):
        return Intend(calls=unsaid)
    return RunCalls(calls=state.open_calls)


def _needs_intent(call: Call, guarded: Collection[str]) -> bool:
    """Whether it must not run before that is recorded. One with a problem never runs."""
    return call.intent is None and call.problem is None and call.tool in guarded


def failed(reason: RunnerReason, message: str) -> Ended:
    """The end of a run that has no answer."""
    return Ended(outcome=Outcome.FAILED, reason=reason, message=message)


def _failed(reason: RunnerReason, message: str) -> Finish:
    return Finish(ended=failed(reason, message))
