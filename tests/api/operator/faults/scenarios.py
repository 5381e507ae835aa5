"""Lives of tasks, each told by what everybody but the operator does. One function each; its name is the scenario's.

A life ends settled. Its numbers of attempts are those of an undisturbed run; a disturbance may not change them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from agenttask import contract
from agenttask.contract import Above, Parked, Wake

from tests.api.operator.faults.life import Life
from tests.api.operator.world import RUNNING

Scenario = Callable[..., Awaitable[None]]


async def _complete(life: Life, attempt: int) -> None:
    life.end(attempt, contract.Outcome.COMPLETED)
    await life.settle()


async def start(life: Life) -> None:
    """A task runs undisturbed to its answer."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    life.claim(1, step=2)
    await life.settle()
    await _complete(life, 1)


async def evict(life: Life) -> None:
    """The Eviction API takes the first pod; its runner stops in its grace."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    life.report(1, state=RUNNING, DisruptionTarget=("True", "EvictionByEvictionAPI", 1))
    life.delete_pod(1)
    await life.settle()
    life.end(1, contract.Outcome.STOPPED, code=75)
    await life.settle()
    await life.begin(2, step=2, resumed_from="log/000000000101")
    await _complete(life, 2)


async def node_loss(life: Life) -> None:
    """The first node is lost, and its kubelet confirms nothing until the end."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    life.report(1, state=RUNNING, Ready=("False", "", 40), ContainersReady=("True", "", 400))
    await life.settle()
    await life.begin(2, step=2, resumed_from="log/000000000101")
    life.end(1, contract.Outcome.FENCED, code=77)
    await life.settle()
    await _complete(life, 2)


async def park_and_wake(life: Life) -> None:
    """A used-up quota is waited for without a pod."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    until = (life.clock() + timedelta(seconds=300)).replace(microsecond=0)
    parked = Parked(park=102, wake=Wake(not_before=until))
    life.end(1, contract.Outcome.PARKED, code=76, reason="ModelQuotaExhausted", parked=parked)
    await life.settle()
    life.clock.pass_by(301)
    await life.settle()
    await life.begin(2, step=2, resumed_from="log/000000000102")
    await _complete(life, 2)


async def park_and_grant(life: Life) -> None:
    """A used-up budget is waited for without a pod, until it is larger."""
    life.apply(budget={"steps": 2})
    await life.settle()
    await life.begin(1, step=2)
    parked = Parked(park=103, wake=Wake(budget_above=Above(steps=2)))
    life.end(1, contract.Outcome.PARKED, code=76, reason="BudgetExhausted", parked=parked)
    await life.settle()
    life.edit(budget={"steps": 4})
    await life.settle()
    await life.begin(2, step=3, resumed_from="log/000000000103")
    await _complete(life, 2)


async def suspend(life: Life) -> None:
    """Suspended while it runs, and let go on."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    life.edit(suspend=True)
    await life.settle()
    life.end(1, contract.Outcome.STOPPED, code=75)
    await life.settle()
    life.edit(suspend=False)
    await life.settle()
    await life.begin(2, step=2, resumed_from="log/000000000101")
    await _complete(life, 2)


async def cancel(life: Life) -> None:
    """Cancelled while it runs."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    life.edit(cancel=True)
    await life.settle()
    life.exit(1, code=143)
    await life.settle()


async def oom(life: Life) -> None:
    """The kernel ends the first runner, though its process says all is well."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    life.report(1, state=ended, phase="Failed")
    await life.settle()
    life.clock.pass_by(60)
    await life.settle()
    await life.begin(2, step=2, resumed_from="log/000000000101")
    await _complete(life, 2)


async def crashes(life: Life) -> None:
    """A runner that always crashes uses its retries up."""
    life.apply(retry={"maxFailures": 1})
    await life.settle()
    await life.begin(1)
    life.exit(1, code=1, message="boom")
    await life.settle()
    life.clock.pass_by(60)
    await life.settle()
    await life.begin(2)
    life.exit(2, code=1, message="boom")
    await life.settle()


async def crash_and_wait(life: Life) -> None:
    """A runner crashes, its pod goes, and the next attempt is not due yet."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    life.exit(1, code=1, message="boom")
    await life.settle()
    life.delete_pod(1, grace=0)
    await life.settle()


async def ttl(life: Life) -> None:
    """A finished task goes when its time is over."""
    life.apply(ttlSecondsAfterFinished=60)
    await life.settle()
    await life.begin(1, step=1)
    await _complete(life, 1)
    life.clock.pass_by(61)
    await life.settle()


async def heal_after_stall(life: Life) -> None:
    """A refused key stalls the task, and an edit heals it."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    life.end(1, contract.Outcome.STALLED, code=78, reason="ModelDenied", message="401: no such key")
    await life.settle()
    life.edit(budget={"steps": 9})
    await life.settle()
    await life.begin(2, step=1, resumed_from="log/000000000101")
    life.claim(2, step=2, resumed_from="log/000000000101")
    await life.settle()
    await _complete(life, 2)


async def image_mended(life: Life) -> None:
    """An image that cannot be pulled is replaced by one that can."""
    life.apply(pod={"image": "none.invalid/wrong"})
    await life.settle()
    life.bind(1)
    life.report(1, state={"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}, phase="Pending")
    await life.settle()
    life.edit(pod={"image": "none.invalid/right"})
    await life.settle()
    await life.begin(2, step=1)
    await _complete(life, 2)


async def name_taken(life: Life) -> None:
    """A foreign pod has the first name."""
    life.foreign_pod(f"{life.name}-1")
    life.apply()
    await life.settle()
    await life.begin(2, step=1)
    await _complete(life, 2)


async def delete_and_reapply(life: Life) -> None:
    """Deleted while it runs and applied again at once, with its predecessor's pod still there."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    life.delete_pod(1)
    life.delete()
    life.apply()
    await life.settle()
    await life.begin(2, step=1)
    await _complete(life, 2)


async def reapply_while_stopping(life: Life) -> None:
    """Deleted and applied again while its pod is being stopped; the new task's pod gets the same name."""
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    life.edit(suspend=True)
    await life.settle()
    life.delete_pod(1, grace=0)
    life.delete()
    life.apply()
    await life.settle()
    await life.begin(1, step=1)
    await _complete(life, 1)


async def cancel_at_once(life: Life) -> None:
    """Cancelled before its pod is placed anywhere."""
    life.apply()
    await life.settle()
    life.edit(cancel=True)
    await life.settle()
    # No kubelet had it: it is gone at once, which the watch shows.
    await life.settle()


async def suspend_at_once(life: Life) -> None:
    """Suspended before its pod is placed anywhere, and let go on."""
    life.apply()
    await life.settle()
    life.edit(suspend=True)
    await life.settle()
    # No kubelet had it: it is gone at once, which the watch shows.
    await life.settle()
    life.edit(suspend=False)
    await life.settle()
    await life.begin(2, step=1)
    await _complete(life, 2)


async def delete_with_purge(life: Life) -> None:
    """Deleted while it runs, with its log."""
    life.apply(checkpoint={"onDelete": "Delete"})
    await life.settle()
    await life.begin(1, step=1)
    life.delete()
    await life.settle()
    life.end(1, contract.Outcome.STOPPED, code=75)
    await life.settle()
    life.bind(2)
    life.end(2, contract.Outcome.PURGED)
    await life.settle()


async def two_tasks(life: Life, other: Life) -> None:
    """Two tasks at once: one loses its pod, one is suspended."""
    for one in (life, other):
        one.apply()
    for one in (life, other):
        await one.settle()
    for one in (life, other):
        await one.begin(1, step=1)
    life.delete_pod(1)
    other.edit(suspend=True)
    for one in (life, other):
        await one.settle()
    for one in (other, life):
        one.end(1, contract.Outcome.STOPPED, code=75)
    for one in (life, other):
        await one.settle()
    other.edit(suspend=False)
    for one in (life, other):
        await one.settle()
    for one in (life, other):
        await one.begin(2, step=2, resumed_from="log/000000000101")
    for one in (other, life):
        await _complete(one, 2)


SCENARIOS: Final[tuple[Scenario, ...]] = (
    start,
    evict,
    node_loss,
    park_and_wake,
    park_and_grant,
    suspend,
    cancel,
    oom,
    crashes,
    crash_and_wait,
    ttl,
    heal_after_stall,
    image_mended,
    name_taken,
    cancel_at_once,
    suspend_at_once,
    delete_and_reapply,
    reapply_while_stopping,
    delete_with_purge,
    two_tasks,
)


def tasks_of(scenario: Scenario) -> int:
    """How many tasks it is about."""
    return 2 if scenario is two_tasks else 1
