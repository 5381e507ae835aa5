"""The loop: asks `turn` what comes next, does it, makes the outcome durable, and asks again.

    call the model → append the reply → run its calls, append each result as it arrives → …

A kill at any point repeats at most the call in flight, since everything before it stands in the log.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from agenttask.agent.events import Ended, Event, ModelSwitched, Replied, ToolReturned
from agenttask.agent.state import Call, State
from agenttask.agent.stop import Stop, StopRequested
from agenttask.agent.tools import Tools
from agenttask.agent.turn import Finish, RunCalls, failed, next_action
from agenttask.clock import Clock
from agenttask.contract import Budget, RunnerReason
from agenttask.model.client import Ask, Outcome, Switched
from agenttask.model.failures import ModelError

PARALLEL_CALLS = 8
ENDS = frozenset({RunnerReason.MODEL_REFUSED, RunnerReason.CONTEXT_TOO_LONG})
"""What ends a task for good, since sending the same conversation again cannot help."""


class Steps(Protocol):
    """Where durable steps go: the journal."""

    state: State

    async def commit(self, event: Event) -> None:
        """On return the event is durable and in the state."""
        ...


class Model(Protocol):
    """Someone who answers a conversation."""

    async def call(self, ask: Ask) -> Outcome:
        """One reply, or another model to ask; `ModelError` if there is neither."""
        ...


class Loop:
    """Drives one run from wherever its state stands to its end."""

    def __init__(self, *, steps: Steps, model: Model, tools: Tools, budget: Budget, stop: Stop, clock: Clock) -> None:
        self._steps = steps
        self._model = model
        self._tools = tools
        self._budget = budget
        self._stop = stop
        self._clock = clock
        self._places = asyncio.Semaphore(PARALLEL_CALLS)

    async def run(self) -> Ended:
        """Go on until the final record is durable.

        Raises `StopRequested` at the first point where nothing is in flight, `ModelError` if someone is needed, and
        what an append raises.
        """
        while self._steps.state.ended is None:
            action = next_action(state=self._steps.state, budget=self._budget)
            if isinstance(action, Finish):
                await self._steps.commit(action.ended)
                continue
            self._stop.refuse_new_work()
            if isinstance(action, RunCalls):
                await self._run_calls(action.calls)
            else:
                await self._steps.commit(await self._call_model())
        return self._steps.state.ended

    async def _call_model(self) -> Replied | ModelSwitched | Ended:
        try:
            outcome = await self._stop.bound(self._model.call(_ask(self._steps.state)), calling=True)
        except ModelError as error:
            if error.reason in ENDS:
                return failed(error.reason, str(error))
            raise
        if isinstance(outcome, Switched):
            return ModelSwitched(link=outcome.link, model=outcome.model, why=outcome.why, failed=outcome.failed)
        reply = outcome.reply
        return Replied(
            message=reply.message,
            finish_reason=reply.finish_reason,
            tokens=reply.tokens,
            model=reply.model,
            asked=outcome.asked,
            cost_usd=outcome.cost_usd,
            ms=outcome.ms,
            first_ms=outcome.first_ms,
            failed=outcome.failed,
        )

    async def _run_calls(self, calls: tuple[Call, ...]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(self._run_call(call))
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors

    async def _run_call(self, call: Call) -> None:
        async with self._places:
            if self._stop.requested:
                return  # its neighbours in flight may finish; run() stops behind them
            begun = self._clock.monotonic()
            try:
                result = await self._stop.bound(self._tools.run(call), calling=False)
            except StopRequested:
                return
            ms = round((self._clock.monotonic() - begun) * 1000)
            # In its place still: so many results as there are places fit into one record, and no more may wait for it.
            await self._steps.commit(ToolReturned(call=call.id, tool=call.tool, text=result.text, ok=result.ok, ms=ms))


def _ask(state: State) -> Ask:
    return Ask(
        messages=state.messages,
        tools=state.tools,
        link=state.link,
        model=state.model,
        replies=state.replies,
        author=state.author,
        latencies_ms=state.latencies,
    )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of several: what failed first made the group cancel the rest."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
