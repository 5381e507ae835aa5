"""The loop: asks `turn` what comes next, does it, makes the outcome durable, and asks again.

    call the model → append the reply → settle what is in doubt → append what must not run twice
                   → run the calls, append each result as it arrives → …

A kill at any point repeats at most the call in flight, since everything before it stands in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from typing import Any, Protocol, assert_never

from agenttask.agent.budget import exhausted, money_left, prompt_size, reply_limit
from agenttask.agent.compaction import SUMMARY_TOKENS, Drop, Step, next_step, to_sum_up
from agenttask.agent.events import (
    AnswerRefused,
    Dropped,
    Ended,
    Event,
    Intended,
    ModelSwitched,
    Replied,
    Summarised,
    ToolReturned,
    Withdrawn,
)
from agenttask.agent.park import Pausing
from agenttask.agent.reducer import estimate_tokens
from agenttask.agent.settle import Settler
from agenttask.agent.state import Call, State
from agenttask.agent.stop import Stop, StopRequested
from agenttask.agent.tools import Tools
from agenttask.agent.turn import (
    Action,
    AskAgain,
    CallModel,
    Compact,
    Finish,
    Intend,
    Park,
    RunCalls,
    Settle,
    failed,
    next_action,
)
from agenttask.clock import Clock
from agenttask.contract import Agent, Budget, RunnerReason
from agenttask.errors import Fenced, StoreError
from agenttask.model.client import Ask, Outcome, Switched
from agenttask.model.failures import ModelError

PARALLEL_CALLS = 8
SUMMARY_SHARES = (1, 2, 4)
"""Of what is to be summed up, where it is too long in its turn."""
TOOL_CHOICES = {"Auto": None, "Required": "required", "None": "none"}
"""What a request says of each `agent.toolChoice`."""
ENDS = frozenset({RunnerReason.MODEL_REFUSED, RunnerReason.CONTEXT_TOO_LONG})
"""What ends a task for good, since sending the same conversation again cannot help."""


class Steps(Protocol):
    """Where durable steps go: the journal."""

    state: State

    async def commit(self, event: Event, /) -> None:
        """On return the event is durable and in the state."""
        ...

    async def leave(self, event: ToolReturned) -> None:
        """Leave the result of a call to whoever has the log now."""
        ...


class Model(Protocol):
    """Someone who answers a conversation."""

    async def call(self, ask: Ask) -> Outcome:
        """One reply, or another model to ask; `ModelError` if there is neither."""
        ...


class Loop:
    """Drives one run from wherever its state stands to its end."""

    def __init__(
        self,
        *,
        steps: Steps,
        model: Model,
        tools: Tools,
        settler: Settler,
        guarded: Collection[str],
        sleeps: Mapping[str, int],
        agent: Agent,
        budget: Budget,
        stop: Stop,
        clock: Clock,
    ) -> None:
        """`guarded` are the tools of which a call must not run twice, `sleeps` those that wait, with their most."""
        self._steps = steps
        self._settler = settler
        self._guarded = guarded
        self._sleeps = sleeps
        self._agent = agent
        self._fenced = False
        self._told = False
        self._model = model
        self._tools = tools
        self._budget = budget
        self._stop = stop
        self._clock = clock
        self._places = asyncio.Semaphore(PARALLEL_CALLS)

    async def run(self) -> Ended:
        """Go on until the final record is durable.

        Raises `StopRequested` at the first point where nothing is in flight, `Pausing` if there is something to wait
        for, `ModelError` or `InDoubt` if someone is needed, and what an append raises.
        """
        while (ended := self._steps.state.ended) is None:
            await self._do_next()
        return ended

    async def _do_next(self) -> None:
        action = self._next()
        if isinstance(action, Finish):
            await self._finish(action.ended)
            return
        self._stop.refuse_new_work()
        match action:
            case Settle():
                await self._stop.bound(self._settler.settle(action.calls), calling=False)
            case Intend():
                await self._steps.commit(Intended(calls=action.calls))
            case AskAgain():
                await self._steps.commit(AnswerRefused(why=action.why))
            case Park():
                raise Pausing(action.pause)
            case RunCalls():
                await self._run_calls(action.calls)
            case Compact():
                await self._steps.commit(await self._compact(action.step))
            case CallModel():
                await self._tell_once()
                await self._steps.commit(await self._call_model())
            case _ as other:
                assert_never(other)

    def _next(self) -> Action:
        return next_action(
            state=self._steps.state,
            budget=self._budget,
            agent=self._agent,
            guarded=self._guarded,
            sleeps=self._sleeps,
        )

    async def _tell_once(self) -> None:
        """What has come to light between the attempts, the model hears at the first occasion."""
        told, self._told = self._told, True
        if not told:
            await self._settler.tell_what_came_to_light()

    async def _finish(self, ended: Ended) -> None:
        """Write the final record, unless something has come to light that the model must know, and can be told."""
        if exhausted(state=self._steps.state, budget=self._budget) is None:
            await self._settler.tell_what_came_to_light()
        if self._next() == Finish(ended=ended):
            await self._steps.commit(ended)

    async def _call_model(self) -> Replied | ModelSwitched | Dropped | Summarised | Ended:
        state = self._steps.state
        try:
            return await self._ask(messages=state.messages, tools=state.tools, size=prompt_size(state))
        except ModelError as error:
            too_long = error.reason is RunnerReason.CONTEXT_TOO_LONG
            if too_long and (step := next_step(state, most=prompt_size(state) // 2)):
                return await self._compact(step)
            if error.reason in ENDS:
                return failed(error.reason, str(error))
            raise

    async def _compact(self, step: Step) -> Dropped | Summarised | ModelSwitched:
        if isinstance(step, Drop):
            return Dropped(before=step.before, room=step.room)
        state = self._steps.state
        for share in SUMMARY_SHARES:
            messages = to_sum_up(state, before=step.before, share=share)
            try:
                said = await self._ask(messages=messages, tools=(), size=estimate_tokens(messages), most=SUMMARY_TOKENS)
            except ModelError as error:
                if error.reason in ENDS:
                    continue  # without a summary the run can still go on, with what it has
                raise
            return said if isinstance(said, ModelSwitched) else Summarised(before=step.before, reply=said)
        return Summarised(before=step.before)

    async def _ask(
        self,
        *,
        messages: list[dict[str, Any]],
        tools: tuple[dict[str, Any], ...],
        size: int,
        most: int | None = None,
    ) -> Replied | ModelSwitched:
        """The model's reply, of at most `most` tokens, to a request of about `size`."""
        state = self._steps.state
        limits = [limit for limit in (most, reply_limit(state=state, budget=self._budget)) if limit is not None]
        ask = Ask(
            messages=messages,
            tools=tools,
            link=state.link,
            model=state.model,
            replies=state.replies,
            returns=not state.link and not state.replies and bool(state.model),
            author=state.author,
            latencies_ms=state.latencies,
            max_tokens=min(limits, default=None),
            tool_choice=TOOL_CHOICES[self._agent.tool_choice],
            left_usd=money_left(state=state, budget=self._budget),
            prompt_tokens=size,
        )
        outcome = await self._stop.bound(self._model.call(ask), calling=True)
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
        """Run them, several at a time; what fails first ends the rest.

        When the log turns out to be lost, though, calls that must not run twice go on to their end: whoever has the log
        now wants to know how they end.
        """
        running = {asyncio.ensure_future(self._run_call(call)): call for call in calls}
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            if self._fenced and (precious := [task for task, call in running.items() if call.intent is not None]):
                await asyncio.wait(precious)
        finally:
            for task in running:
                task.cancel()
            ends = await asyncio.gather(*running, return_exceptions=True)
        errors = [end for end in ends if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError)]
        if errors:
            raise errors[0]
        waiting = [call.id for call, begun in zip(calls, ends, strict=True) if not begun and call.intent is not None]
        if waiting:
            await self._steps.commit(Withdrawn(calls=tuple(waiting)))

    async def _run_call(self, call: Call) -> bool:
        """Whether it has begun."""
        async with self._places:
            if self._stop.requested or self._fenced:
                return False  # its neighbours in flight may finish; run() stops behind them
            begun = self._clock.monotonic()
            try:
                result = await self._stop.bound(self._tools.run(call), calling=False)
            except StopRequested:
                return True
            ms = round((self._clock.monotonic() - begun) * 1000)
            # In its place still: so many results as there are places fit into one record, and no more may wait for it.
            await self._record(call, ToolReturned(call=call.id, tool=call.tool, text=result.text, ok=result.ok, ms=ms))
            return True

    async def _record(self, call: Call, returned: ToolReturned) -> None:
        try:
            await self._steps.commit(returned)
        except Fenced:
            self._fenced = True
            if call.intent is not None:
                with contextlib.suppress(StoreError):  # a courtesy: who has the log now can do without
                    await self._steps.leave(returned)
            raise
