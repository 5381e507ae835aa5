"""What comes next: state, budget → action. Pure, so that a resumed run and an undisturbed one decide alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from agenttask.agent.budget import exhausted, needs
from agenttask.agent.compaction import Step, overdue
from agenttask.agent.events import Ended
from agenttask.agent.output import Accepted, Refused, examine
from agenttask.agent.park import NAP_SECONDS, Pause, sleep_seconds
from agenttask.agent.state import Call, State
from agenttask.contract import Agent, Budget, Outcome, RunnerReason

_ANY: Final = Agent()
_NO_SLEEPS: Final[Mapping[str, int]] = MappingProxyType({})
MAX_CUT_REPLIES = 3
"""Unusable replies in a row after which asking once more is a waste of money."""
MAX_REFUSED_ANSWERS = 3
"""Answers of the wrong form after which the model is not asked for another."""


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
class Compact:
    """Make requests shorter before the next one."""

    step: Step


@dataclass(frozen=True, kw_only=True)
class AskAgain:
    """Ask for another answer."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Park:
    """Wait, without a pod."""

    pause: Pause


@dataclass(frozen=True, kw_only=True)
class Finish:
    """Write the final record."""

    ended: Ended


Action: TypeAlias = CallModel | Settle | Intend | RunCalls | Compact | AskAgain | Park | Finish


def next_action(
    *,
    state: State,
    budget: Budget,
    agent: Agent = _ANY,
    guarded: Collection[str] = (),
    sleeps: Mapping[str, int] = _NO_SLEEPS,
) -> Action:
    """The one thing to do now, for a run that has started, is not parked and has not ended.

    `agent` says what form an answer must have and how long a request may be, `guarded` are the tools of which a call
    must not run twice, `sleeps` those that wait, with the most seconds.
    """
    if state.open_calls:
        return _next_for_calls(state, guarded, sleeps)
    if state.answer is not None:
        return _next_for_answer(state, examine(state.answer, agent=agent))
    if state.cut_replies >= MAX_CUT_REPLIES:
        why = f"{state.cut_replies} replies in a row could not be used (finish reason {state.last_finish})"
        return _failed(RunnerReason.MODEL_REFUSED, why)
    if why_not := exhausted(state=state, budget=budget):
        message = f"{why_not}; a larger budget lets it go on"
        return Park(pause=Pause(reason=RunnerReason.BUDGET_EXHAUSTED, message=message, above=needs(state)))
    if step := overdue(state, limit=agent.context_tokens):
        return Compact(step=step)
    return CallModel()


def _next_for_calls(state: State, guarded: Collection[str], sleeps: Mapping[str, int]) -> Action:
    if state.doubtful_calls:
        return Settle(calls=state.doubtful_calls)
    if unsaid := tuple(call.id for call in state.open_calls if _needs_intent(call, guarded)):
        return Intend(calls=unsaid)
    asked = {call.id: sleep_seconds(call, sleeps=sleeps) or 0 for call in state.open_calls}
    if now := tuple(call for call in state.open_calls if asked[call.id] <= NAP_SECONDS):
        return RunCalls(calls=now)
    seconds = max(asked.values())
    message = f"sleeps for {seconds} s, as the model asked"
    return Park(pause=Pause(reason=RunnerReason.SLEEPING, message=message, seconds=seconds, calls=tuple(asked)))


def _next_for_answer(state: State, found: Accepted | Refused) -> Action:
    if isinstance(found, Accepted):
        return Finish(
            ended=Ended(
                outcome=Outcome.COMPLETED,
                reason=RunnerReason.COMPLETED,
                message=f"answered after {state.step} {'step' if state.step == 1 else 'steps'}",
                answer=found.answer,
            )
        )
    if state.refused_answers >= MAX_REFUSED_ANSWERS:
        why = f"asked {state.refused_answers + 1} times, the model gave no answer of the form asked for: {found.why}"
        return _failed(RunnerReason.OUTPUT_INVALID, why)
    return AskAgain(why=found.why)


def _needs_intent(call: Call, guarded: Collection[str]) -> bool:
    """Whether it must not run before that is recorded. One with a problem never runs."""
    return call.intent is None and call.problem is None and call.tool in guarded


def failed(reason: RunnerReason, message: str) -> Ended:
    """The end of a run that has no answer."""
    return Ended(outcome=Outcome.FAILED, reason=reason, message=message)


def _failed(reason: RunnerReason, message: str) -> Finish:
    return Finish(ended=failed(reason, message))
