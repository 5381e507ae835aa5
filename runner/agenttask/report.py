"""Progress into the task's status: what is durable, seldom enough for an API server and soon enough for a person.

Status is a report and decides nothing: a refused write is tried again and never taken for fencing. The newest state
is what is written; older ones that found no time are skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final

import msgspec

from agenttask.agent.events import Event
from agenttask.agent.state import Program, State
from agenttask.clock import Clock
from agenttask.contract import (
    ANSWER_BYTES,
    AttemptUsage,
    CheckpointStatus,
    DamageStatus,
    InheritedUsage,
    LostUsage,
    ProgressStatus,
    ResultStatus,
    RunnerReason,
    RunnerStatus,
    UsageStatus,
)
from agenttask.log import Record, RecordRef
from agenttask.status_api import Answer, StatusApi

MESSAGE_BYTES: Final = 1024
"""What `status.progress.message` holds; a longer one would be refused, and so never accepted."""
INTERVAL_SECONDS: Final = 10.0
"""Between two accepted writes, but for the last."""
FIRST_RETRY_SECONDS: Final = 0.5
"""Soon, since the operator may not have recorded this pod yet; doubled up to the interval."""
FLUSH_SECONDS: Final = 2.0
GONE_SECONDS: Final = 60.0
"""How long the task must have been gone for its last write to be given up."""


def render(
    *, state: State, head: RecordRef, max_steps: int, resumed_from: str | None, damage: DamageStatus | None = None
) -> RunnerStatus:
    """All a runner says about its task.

    `resumed_from` is the key of the record its attempt went on from, `damage` what it found broken then.
    """
    step, most = (state.step, max_steps) if (program := state.program) is None else (program.step, program.total)
    return RunnerStatus(
        checkpoint=CheckpointStatus(
            key=head.key,
            id=head.id,
            seq=head.seq,
            step=step,
            attempt=head.attempt,
            digest=head.digest,
            progress_digest=head.progress_digest,
            time=head.time,
            size_bytes=head.size_bytes,
            parent_id=head.parent_id,
            resumed_from=resumed_from,
            damage=damage,
        ),
        progress=ProgressStatus(
            step=step,
            max_steps=most,
            display=_display(step, most),
            message=_doing(state),
            model=state.model or None,
        ),
        usage=_usage(state),
        result=None if state.ended is None and not _out_of_budget(state) else _result(state, key=head.key),
    )


def _usage(state: State) -> UsageStatus:
    calls = state.step + state.abandoned_model_calls
    priced = state.unpriced_calls < calls
    lost = None
    if state.lost_prompt_tokens or state.lost_completion_tokens:
        lost = LostUsage(
            prompt_tokens=state.lost_prompt_tokens,
            completion_tokens=state.lost_completion_tokens,
            cost_usd=dollars(state.lost_cost_usd) if priced else None,
        )
    return UsageStatus(
        model_calls=calls,
        repeated_model_calls=state.repeated_model_calls,
        failed_model_calls=state.failed_calls,
        tool_calls=state.tool_calls,
        prompt_tokens=state.prompt_tokens,
        cached_tokens=state.cached_tokens,
        completion_tokens=state.completion_tokens,
        reasoning_tokens=state.reasoning_tokens,
        total_tokens=state.prompt_tokens + state.completion_tokens,
        attempts=tuple(
            AttemptUsage(
                attempt=tally.attempt,
                model_calls=tally.model_calls,
                repeated_model_calls=tally.repeated_model_calls,
            )
            for tally in state.attempts
        ),
        cost_usd=dollars(state.cost_usd) if priced else None,
        unpriced_model_calls=state.unpriced_calls,
        lost=lost,
        inherited=_inherited(state),
    )


def dollars(amount: Decimal) -> str:
    """For a column: four digits after the point, which is a hundredth of a cent."""
    return f"{amount:.4f}"


def damage_of(claim: Record | None) -> DamageStatus | None:
    """What an attempt's claim says of damage, in one message."""
    if claim is None or not (claim.damage or claim.abandoned):
        return None
    sentences, lost = list(claim.damage), 0
    if (left := claim.abandoned) is not None:
        lost = left.last - left.first + 1
        charged = ", ".join(f"{name} {number}" for name, number in left.charge.items())
        went_on = f"it went on from record {claim.parent.seq}" if claim.parent else "it began anew"
        sentences.insert(0, f"{left.why}; records {left.first} to {left.last} are lost, and {went_on}")
        if charged:
            sentences[0] += f" (charged all the same: {charged})"
    return DamageStatus(message=cut_text("; ".join(sentences), limit=MESSAGE_BYTES), lost_records=lost)


def cut_text(text: str, *, limit: int) -> str:
    """The text, shortened to at most `limit` bytes of UTF-8, with an ellipsis where it was."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    return raw[: limit - 3].decode(errors="ignore") + "…"


def _display(step: int, most: int) -> str:
    """For a column; a program need not say how many steps there are."""
    return f"{step}/{most}" if most else str(step)


def _out_of_budget(state: State) -> bool:
    return state.wait is not None and state.wait.parked.reason == RunnerReason.BUDGET_EXHAUSTED


def _result(state: State, *, key: str) -> ResultStatus:
    """What the run has come to: its answer, else the model's last words."""
    answer = state.ended.answer if state.ended is not None else ""
    cut = cut_text(answer or state.last_words, limit=ANSWER_BYTES)
    done = bool(answer) or state.program is not None
    return ResultStatus(answer=cut, key=key, partial=not done or None)


def _inherited(state: State) -> InheritedUsage | None:
    if (used := state.inherited) is None:
        return None
    return InheritedUsage(
        model_calls=used.model_calls,
        tool_calls=used.tool_calls,
        prompt_tokens=used.prompt_tokens,
        completion_tokens=used.completion_tokens,
        cost_usd=dollars(used.cost_usd) if used.unpriced_calls < used.model_calls else None,
    )


def _doing(state: State) -> str:
    if state.ended is not None:
        return cut_text(state.ended.message, limit=MESSAGE_BYTES)
    if state.wait is not None:
        return cut_text(f"parked: {state.wait.parked.message}", limit=MESSAGE_BYTES)
    if state.stopped:
        return "stopped; to be resumed"
    if state.doubtful_calls:
        names = ", ".join(dict.fromkeys(call.tool for call in state.doubtful_calls))
        return cut_text(f"finding out what became of {names}", limit=MESSAGE_BYTES)
    if state.open_calls:
        names = ", ".join(dict.fromkeys(call.tool for call in state.open_calls))
        return cut_text(f"running {names}", limit=MESSAGE_BYTES)
    return "calling the model" if state.program is None else _said(state.program)


def _said(program: Program) -> str:
    return cut_text(program.text or "running the program", limit=MESSAGE_BYTES)


class Reporter:
    """Writes the newest state; a witness of the journal."""

    def __init__(
        self,
        *,
        api: StatusApi,
        max_steps: int,
        resumed_from: str | None,
        damage: DamageStatus | None = None,
        clock: Clock,
        on_trouble: Callable[[str], None],
    ) -> None:
        """`on_trouble` hears the server's words for each write that was not accepted."""
        self._api = api
        self._max_steps = max_steps
        self._resumed_from = resumed_from
        self._damage = damage
        self._clock = clock
        self._on_trouble = on_trouble
        self._newest: RunnerStatus | None = None
        self._written: RunnerStatus | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, *, state: State, head: RecordRef) -> None:
        """Begin to report. Only a restored state may come here: before that nothing is known."""
        self.recorded(events=(), state=state, head=head)
        self._task = asyncio.create_task(self._keep_writing())

    def recorded(self, *, events: tuple[Event, ...], state: State, head: RecordRef) -> None:
        self._newest = render(
            state=state,
            head=head,
            max_steps=self._max_steps,
            resumed_from=self._resumed_from,
            damage=self._damage,
        )
        self._news.set()

    def note(self, message: str) -> None:
        """What the run is doing, until the next record says more."""
        if self._newest is None:
            return
        progress = msgspec.structs.replace(self._newest.progress, message=cut_text(message, limit=MESSAGE_BYTES))
        self._newest = msgspec.structs.replace(self._newest, progress=progress)
        self._news.set()

    def heard(self, program: Program) -> None:
        """How far a program says it is: its next record will say so too, unless it is lost before."""
        if self._newest is None:
            return
        progress = msgspec.structs.replace(
            self._newest.progress,
            step=program.step,
            max_steps=program.total,
            display=_display(program.step, program.total),
            message=_said(program),
        )
        self._newest = msgspec.structs.replace(self._newest, progress=progress)
        self._news.set()

    async def finish(self, *, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Write the last state until it is accepted, or the task has been gone for a minute.

        An API server that is away is waited for without end; `sleep` may raise to put an end to it.
        """
        await self.close()
        pause = FIRST_RETRY_SECONDS
        gone_since: float | None = None
        while (answer := await self._write()) is not Answer.ACCEPTED:
            now = self._clock.monotonic()
            gone_since = None if answer is not Answer.GONE else gone_since if gone_since is not None else now
            if gone_since is not None and now - gone_since >= GONE_SECONDS:
                return
            await sleep(pause)
            pause = min(2 * pause, INTERVAL_SECONDS)

    async def flush(self) -> None:
        """Write the newest state once, whatever comes of it, and without holding up the way out."""
        await self.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._write()

    async def close(self) -> None:
        """Stop writing. Raises what ended the writing early, if something did."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise

    async def _keep_writing(self) -> None:
        pause = FIRST_RETRY_SECONDS
        while True:
            await self._news.wait()
            self._news.clear()
            if await self._write() is Answer.ACCEPTED:
                pause = FIRST_RETRY_SECONDS
                await self._clock.sleep(INTERVAL_SECONDS)
            else:
                self._news.set()
                await self._clock.sleep(pause)
                pause = min(2 * pause, INTERVAL_SECONDS)

    async def _write(self) -> Answer:
        status = self._newest
        if status is None or status == self._written:
            return Answer.ACCEPTED
        answer, words = await self._api.apply(status)
        if answer is Answer.ACCEPTED:
            self._written = status
        else:
            self._on_trouble(words)
        return answer
