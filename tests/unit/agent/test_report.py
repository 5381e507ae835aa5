"""When status is written, and what of it: seldom, the newest only, and to the end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from agenttask.agent.events import Ended
from agenttask.agent.state import Call, State
from agenttask.clock import ManualClock
from agenttask.contract import ANSWER_BYTES, DamageStatus
from agenttask.log import Abandoned, Holder, Kind, Record, RecordRef
from agenttask.log.record import Remarks, build
from agenttask.report import Reporter, cut_text, damage_of, render
from agenttask.status_api import Answer

from tests.unit.agent.conftest import StatusBoard

STARTED = State(started=True)


def head(seq: int) -> RecordRef:
    return RecordRef(
        key=f"log/{seq:012d}",
        id=f"{seq}-abc",
        seq=seq,
        digest="d",
        progress_digest="p",
        step=seq,
        attempt=1,
        time="2026-01-01T00:00:00Z",
        size_bytes=1,
        parent_id=None,
    )


class SteppedClock:
    """A clock whose sleepers wake when the test says so."""

    def __init__(self) -> None:
        self._manual = ManualClock()
        self.sleeping: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime:
        return self._manual.now()

    def monotonic(self) -> float:
        return self._manual.monotonic()

    async def sleep(self, seconds: float) -> None:
        wake = asyncio.Event()
        self.sleeping.append((seconds, wake))
        await wake.wait()

    async def wake(self) -> float:
        """Wake the one sleeper; how long it meant to sleep."""
        seconds, wake = self.sleeping.pop()
        wake.set()
        await settle()
        return seconds


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


class Desk:
    """A reporter and what it is made of."""

    def __init__(self, *answers: Answer) -> None:
        self.board = StatusBoard()
        self.board.answers = list(answers)
        self.clock = SteppedClock()
        self.troubles: list[str] = []
        self.reporter = Reporter(
            api=self.board,
            max_steps=50,
            resumed_from="log/1",
            clock=self.clock,
            on_trouble=self.troubles.append,
        )

    @property
    def seqs(self) -> list[int]:
        return [status.checkpoint.seq for status in self.board.reported]

    def record(self, seq: int) -> None:
        self.reporter.recorded(events=(), state=STARTED, head=head(seq))


async def test_the_restored_state_is_written_at_once_and_then_one_in_ten_seconds() -> None:
    desk = Desk()
    desk.reporter.start(state=STARTED, head=head(1))
    await settle()
    assert desk.seqs == [1]
    for seq in range(2, 6):
        desk.record(seq)
    await settle()
    assert desk.seqs == [1]
    assert await desk.clock.wake() == 10
    assert desk.seqs == [1, 5]
    await desk.reporter.close()


async def test_nothing_new_is_not_written() -> None:
    desk = Desk()
    desk.reporter.start(state=STARTED, head=head(1))
    await settle()
    desk.record(1)
    await desk.clock.wake()
    assert desk.seqs == [1]
    await desk.reporter.close()


async def test_what_is_waited_for_is_said_until_the_next_record() -> None:
    desk = Desk()
    desk.reporter.note("nothing is known yet")
    desk.reporter.start(state=STARTED, head=head(1))
    await settle()
    desk.reporter.note("asking m again in 16 s: HTTP 503")
    await desk.clock.wake()
    desk.record(2)
    await desk.clock.wake()
    messages = [status.progress.message for status in desk.board.reported]
    assert messages == ["calling the model", "asking m again in 16 s: HTTP 503", "calling the model"]
    assert desk.seqs == [1, 1, 2]
    await desk.reporter.close()


async def test_a_refused_write_is_tried_again_soon_and_then_less_often() -> None:
    desk = Desk(*[Answer.REFUSED, Answer.GONE, Answer.UNREACHABLE, Answer.REFUSED, Answer.REFUSED, Answer.REFUSED])
    desk.reporter.start(state=STARTED, head=head(1))
    await settle()
    waits = [await desk.clock.wake() for _ in range(6)]
    assert waits == [0.5, 1, 2, 4, 8, 10]
    assert desk.seqs == [1]
    assert len(desk.troubles) == 6
    await desk.reporter.close()


async def test_the_last_write_does_not_wait_for_the_ten_seconds() -> None:
    desk = Desk()
    desk.reporter.start(state=STARTED, head=head(1))
    await settle()
    desk.record(2)
    await desk.reporter.finish(sleep=desk.clock.sleep)
    assert desk.seqs == [1, 2]


async def test_a_task_that_is_gone_is_given_up_after_a_minute() -> None:
    desk = Desk(*[Answer.GONE] * 100)
    clock = ManualClock()
    desk.clock._manual = clock
    desk.record(1)
    await desk.reporter.finish(sleep=clock.sleep)
    assert desk.seqs == []
    assert 60 <= clock.monotonic() < 75


async def test_gone_counts_only_without_a_break() -> None:
    desk = Desk(*[Answer.GONE] * 7, Answer.UNREACHABLE, *[Answer.GONE] * 6, Answer.ACCEPTED)
    clock = ManualClock()
    desk.clock._manual = clock
    desk.record(1)
    await desk.reporter.finish(sleep=clock.sleep)
    assert desk.seqs == [1]


async def test_what_breaks_the_writing_comes_out() -> None:
    desk = Desk()

    async def broken(_: object) -> tuple[Answer, str]:
        raise RuntimeError("oops")

    desk.board.apply = broken  # type: ignore[method-assign, assignment]
    desk.reporter.start(state=STARTED, head=head(1))
    await settle()
    with pytest.raises(RuntimeError, match="oops"):
        await desk.reporter.finish(sleep=desk.clock.sleep)


def test_a_long_answer_is_cut_and_the_key_says_where_all_of_it_is() -> None:
    ended = Ended(outcome="Completed", reason="Completed", message="m", answer="ü" * 5000)
    status = render(state=State(ended=ended), head=head(9), max_steps=50, resumed_from=None)
    assert status.result is not None
    assert len(status.result.answer.encode()) <= ANSWER_BYTES
    assert status.result.answer.endswith("ü…")
    assert status.result.key == "log/000000000009"


@pytest.mark.parametrize(("text", "want"), [("abc", "abc"), ("abcdef", "ab…"), ("üü", "üü"), ("aüü", "aüü")])
def test_cut_text_counts_bytes(text: str, want: str) -> None:
    assert cut_text(text, limit=5) == want
    assert len(want.encode()) <= 5


def open_call(name: str) -> Call:
    return Call(id="1.0", provider_id="x", tool=name, arguments="{}")


@pytest.mark.parametrize(
    ("state", "want"),
    [
        (STARTED, "calling the model"),
        (State(calls=(open_call("a"), open_call("b"), open_call("a"))), "running a, b"),
        (msgspec.structs.replace(STARTED, stopped=True), "stopped; to be resumed"),
    ],
)
def test_progress_says_what_is_going_on(state: State, want: str) -> None:
    assert render(state=state, head=head(1), max_steps=50, resumed_from=None).progress.message == want


def test_damage_is_one_message_and_says_what_was_lost_and_charged() -> None:
    def claim(**remarks: Any) -> Record:
        return build(
            key="p/log/000000000020",
            seq=20,
            parent=None,
            kind=Kind.CLAIM,
            attempt=2,
            holder=Holder(pod_uid="pod", process="p"),
            now=datetime(2026, 1, 1, tzinfo=UTC),
            step=0,
            max_steps=0,
            retry=0,
            events=(),
            remarks=Remarks(**remarks),
        ).record

    assert damage_of(None) is None
    assert damage_of(claim()) is None
    found = damage_of(claim(damage=("snapshot s is damaged",)))
    assert found == DamageStatus(message="snapshot s is damaged", lost_records=0)
    left = Abandoned(first=18, last=19, why="record r is missing", unreadable=(18,), charge={"modelCalls": 1})
    lost = damage_of(claim(damage=("snapshot s is damaged",), abandoned=left))
    assert lost is not None
    assert lost.lost_records == 2
    assert lost.message == (
        "record r is missing; records 18 to 19 are lost, and it began anew (charged all the same: modelCalls 1); "
        "snapshot s is damaged"
    )
