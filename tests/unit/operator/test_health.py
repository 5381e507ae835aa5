"""When the process should be restarted."""

from __future__ import annotations

import pytest
from agenttask_operator.health import LOOP_SECONDS, Health


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock=clock)


def test_alive_while_the_resync_loop_turns(health: Health, clock: Clock) -> None:
    clock.now += LOOP_SECONDS
    assert health.ill() is None
    clock.now += 1
    assert health.ill() == "the resync loop stands still"
    health.turned()
    assert health.ill() is None


def test_not_alive_with_a_silent_watch(health: Health) -> None:
    health.silent = "pods"
    assert health.ill() == "the watch of pods is silent"


def test_not_ready_before_the_first_check(health: Health) -> None:
    assert health.missing is not None


def test_a_loop_that_rests_for_long_is_given_as_long(clock: Clock) -> None:
    health = Health(clock=clock, resync_seconds=3600)
    clock.now += 3 * 3600
    assert health.ill() is None
    clock.now += 1
    assert health.ill() == "the resync loop stands still"
