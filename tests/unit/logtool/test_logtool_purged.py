"""A log that was purged is called so, with the time and the task, and is not taken for a damaged one."""

from __future__ import annotations

import pytest
from agenttask.clock import ManualClock
from agenttask.contract import log_prefix
from agenttask.errors import CheckpointLost
from agenttask.log import Holder, Patience, purge
from agenttask.logtool.place import Checkpoint, Known
from agenttask.store.faults import Call, Fault, FaultyStore
from agenttask.store.memory import MemoryStore

from tests.unit.agent.conftest import PREFIX, Killed
from tests.unit.logtool.desks import Looker, two_attempts

WHEN = "2026-01-01T00:00:00.000Z"
PURGED = f"the log of ns/task was purged by attempt 3 at {WHEN}"
CLAIMS = (1, 5, 12)


def key(seq: int) -> str:
    return f"{PREFIX}/log/{seq:012d}"


async def purging(run: Looker, *, deletes: int | None = None) -> None:
    """The purge of the run's log; it dies when it has deleted so many objects."""
    done = 0

    async def dies(call: Call) -> Fault:
        nonlocal done
        if call.operation == "delete":
            done += 1
            if deletes is not None and done > deletes:
                raise Killed
        return Fault.NONE

    await purge(
        store=FaultyStore(MemoryStore(run.objects), before=dies),
        prefix=PREFIX,
        task="ns/task",
        attempt=3,
        holder=Holder(pod_uid="pod-3", process="p"),
        clock=ManualClock(),
        patience=Patience(jitter=lambda: 0.0),
    )


@pytest.fixture
async def whole() -> Looker:
    """A run of two attempts and eleven records that is over."""
    assert log_prefix(prefix="p", namespace="ns", name="task", uid="uid") == PREFIX
    return Looker(objects=(await two_attempts()).objects)


@pytest.fixture
async def run(whole: Looker) -> Looker:
    """The same, purged."""
    await purging(whole)
    assert sorted(whole.objects) == [key(seq) for seq in CLAIMS]
    return whole


async def test_ls_of_a_place_says_of_a_purged_run_that_it_is(run: Looker) -> None:
    run.path = "p"
    assert await run.run("ls", output="table") == 0
    assert run.said.splitlines()[1].split()[:5] == ["ns/task/uid", "3", "3", "4/50", "purged"]
    assert (await run.json("ls"))["runs"][0]["newest"]["purge"] is True


async def test_ls_of_a_purged_run_shows_its_claims_and_says_what_they_are(run: Looker) -> None:
    assert await run.run("ls", output="table") == 0
    assert [line.split()[3] for line in run.said.splitlines()] == ["KIND", "claim", "claim", "purge"]
    assert run.warned == f"{PURGED}\n"
    shown = (await run.json("ls"))["records"]
    assert [(one["seq"], one["kind"], one.get("purge")) for one in shown] == [
        (1, "claim", None),
        (5, "claim", None),
        (12, "claim", True),
    ]


async def test_a_run_that_was_not_purged_is_not_called_so(whole: Looker) -> None:
    assert await whole.run("ls", output="table") == 0
    assert whole.warned == ""
    assert (await whole.json("verify"))["purge"] is None


@pytest.mark.parametrize("known", [False, True], ids=["by its address", "by its task, whose status names more"])
async def test_a_purged_log_verifies(run: Looker, *, known: bool) -> None:
    if known:
        run.task = Known(keep_last=3, checkpoint=Checkpoint(key=key(11), seq=11, digest="d"))
    assert await run.run("verify") == 0
    assert run.said == f"{PURGED}: 3 claims left, {run.said.split('left, ')[1]}"
    assert run.said.endswith(": no problems\n")
    answer = await run.json("verify")
    assert (answer["problems"], answer["left"], answer["records"]) == ([], [], 3)
    assert (answer["purge"]["task"], answer["purge"]["time"], answer["purge"]["attempt"]) == ("ns/task", WHEN, 3)


@pytest.mark.parametrize("verb", ["show", "restore", "result"])
@pytest.mark.parametrize("at", [None, 1, 6])
async def test_what_was_in_a_purged_log_is_said_to_be_purged(run: Looker, verb: str, at: int | None) -> None:
    with pytest.raises(CheckpointLost) as lost:
        await run.run(verb, at=at)
    assert str(lost.value) == f"{PURGED}: nothing is left to read"


async def test_nothing_of_a_purged_log_is_left_to_prune(run: Looker) -> None:
    assert await run.run("prune") == 0
    assert (run.said, run.warned) == ("no objects, 0 B, to delete, with --yes\n", f"{PURGED}\n")


async def test_what_a_purge_has_left_is_a_problem_and_goes_by_prune(whole: Looker) -> None:
    with pytest.raises(Killed):
        await purging(whole, deletes=2)
    left = sorted(set(whole.objects) - {key(seq) for seq in CLAIMS})
    assert left
    assert await whole.run("verify") == 1
    what = f"{len(left)} objects that the purge was to remove: `agenttask log prune` names them"
    assert whole.said.splitlines()[0] == what
    assert sorted((await whole.json("verify"))["left"]) == left
    assert await whole.run("prune", yes=True) == 0
    assert sorted(whole.objects) == [key(seq) for seq in CLAIMS]
    assert await whole.run("verify") == 0


async def test_what_a_purge_has_not_come_to_can_still_be_read(whole: Looker) -> None:
    with pytest.raises(Killed):
        await purging(whole, deletes=0)
    assert await whole.run("restore", output="json") == 0
    assert whole.warned == f"{PURGED}, and what is shown here is still to be removed\n"
    assert await whole.run("show") == 0
    assert whole.said.rstrip().endswith("\n    it removes the log")


async def test_a_record_that_cannot_be_read_is_a_problem_of_a_purged_log_too(run: Looker) -> None:
    run.objects[key(5)] = run.objects[key(5)][:-1] + b"?"
    assert await run.run("verify") == 1
    assert key(5) in run.said.splitlines()[0]
