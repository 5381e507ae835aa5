"""Events: told one by one at first, then counted, and told anew after a rest or where the counted one has gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import pytest
from agenttask_operator.announcer import KEPT, SERIES, SINGLY, Announcer
from agenttask_operator.answers import NotFoundError, UnreachableError
from agenttask_operator.cluster import Cluster
from agenttask_operator.observed import Task
from agenttask_operator.status import Event, Weight
from msgspec.structs import replace

from tests.unit.operator.builders import NOW, task

ENDED = Event(weight=Weight.WARNING, reason="Crashed", action="End", note="Attempt 1 ended.")
STARTED = Event(weight=Weight.NORMAL, reason="AttemptStarted", action="Start", note="Attempt 2 starts.")


@dataclass
class Noted:
    """A cluster that takes Events, or does not."""

    told: list[str] = field(default_factory=list)
    counted: list[tuple[str, int]] = field(default_factory=list)
    gone: bool = False
    unreachable: bool = False

    async def create_event(self, *, task: Task, event: Event, reporter: str, now: datetime) -> str:
        if self.unreachable:
            raise UnreachableError("no answer")
        self.told.append(event.reason)
        return f"e{len(self.told)}"

    async def repeat_event(self, *, task: Task, name: str, count: int, now: datetime) -> None:
        if self.gone:
            raise NotFoundError(name)
        self.counted.append((name, count))


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def announcer(noted: Noted, clock: Clock) -> Announcer:
    return Announcer(cluster=cast(Cluster, noted), clock=clock, reporter="test")


async def tell(announcer: Announcer, *, times: int, event: Event = ENDED, of: Task | None = None) -> None:
    for _ in range(times):
        await announcer.tell(task=of or task(), event=event)


async def test_what_goes_on_and_on_is_one_series_that_counts(announcer: Announcer, noted: Noted) -> None:
    await tell(announcer, times=SINGLY + 3)
    assert noted.told == ["Crashed"] * SINGLY
    assert noted.counted == [(f"e{SINGLY}", 2), (f"e{SINGLY}", 3), (f"e{SINGLY}", 4)]


async def test_another_kind_and_another_task_are_told_by_themselves(announcer: Announcer, noted: Noted) -> None:
    await tell(announcer, times=SINGLY)
    await tell(announcer, times=1, event=STARTED)
    another = replace(task(), metadata=replace(task().metadata, uid="another"))
    await tell(announcer, times=1, of=another)
    assert noted.counted == []


async def test_a_note_that_differs_makes_no_other_kind(announcer: Announcer, noted: Noted) -> None:
    for attempt in range(SINGLY + 1):
        await tell(announcer, times=1, event=replace(ENDED, note=f"Attempt {attempt} ended."))
    assert len(noted.counted) == 1


async def test_after_a_rest_it_is_news_again(announcer: Announcer, noted: Noted, clock: Clock) -> None:
    await tell(announcer, times=SINGLY)
    clock.now += SERIES
    await tell(announcer, times=1)
    clock.now += SERIES + timedelta(seconds=1)
    await tell(announcer, times=1)
    assert (len(noted.told), len(noted.counted)) == (SINGLY + 1, 1)


async def test_a_series_whose_event_has_gone_begins_anew(announcer: Announcer, noted: Noted) -> None:
    await tell(announcer, times=SINGLY)
    noted.gone = True
    await tell(announcer, times=1)
    noted.gone = False
    await tell(announcer, times=SINGLY)
    assert noted.counted == [(f"e{SINGLY * 2}", 2)]


async def test_an_event_that_cannot_be_written_stops_nobody(
    announcer: Announcer, noted: Noted, caplog: pytest.LogCaptureFixture
) -> None:
    noted.unreachable = True
    await tell(announcer, times=1)
    assert "Event Crashed not written: no answer" in caplog.text


async def test_what_is_remembered_is_bounded(announcer: Announcer, noted: Noted) -> None:
    for number in range(KEPT + 1):
        one = replace(task(), metadata=replace(task().metadata, uid=str(number)))
        await tell(announcer, times=1, of=one)
    assert len(announcer._series) == KEPT
