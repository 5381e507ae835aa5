"""How long the next write of a finalizer waits that something else undoes."""

from __future__ import annotations

from agenttask_operator.guarding import Guarding, held_until, written

from tests.unit.operator.builders import NOW, ago, ahead, task


def waits(writes: int) -> float:
    """Seconds from the last of so many writes in a row until the next may come."""
    found: Guarding | None = None
    for _ in range(writes):
        found = written(found, task=task(), now=NOW)
    until = held_until(found, task=task(), now=NOW)
    return (until - NOW).total_seconds() if until is not None else 0


def test_each_write_in_a_row_is_waited_for_twice_as_long_but_never_above_five_minutes() -> None:
    assert [waits(writes) for writes in (0, 1, 2, 3, 8, 9, 1000)] == [0, 2, 4, 8, 256, 300, 300]


def test_the_wait_is_over_at_its_end() -> None:
    once = written(None, task=task(), now=ago(2))
    assert held_until(once, task=task(), now=NOW) is None
    assert held_until(once, task=task(), now=ago(1)) == NOW


def test_after_an_edit_and_for_another_task_of_the_name_nothing_is_waited_for() -> None:
    once = written(None, task=task(), now=NOW)
    assert held_until(once, task=task(generation=2), now=NOW) is None
    assert written(once, task=task(generation=2), now=NOW).times == 1


def test_writes_far_apart_are_not_in_a_row() -> None:
    once = written(None, task=task(), now=NOW)
    assert written(once, task=task(), now=ahead(600)).times == 2
    assert written(once, task=task(), now=ahead(601)).times == 1
