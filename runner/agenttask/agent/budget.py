"""What a run may still use. Checked before a call, never after: an overshoot is at most one call."""

from __future__ import annotations

from agenttask.agent.state import State
from agenttask.contract import Budget


def exhausted(*, state: State, budget: Budget) -> str | None:
    """Why no further model call may be made, as a sentence, or None."""
    if state.step >= budget.steps:
        return f"all {budget.steps} steps of the budget are used and the model has not given its final answer"
    return None
