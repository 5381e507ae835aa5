"""Programs on versitygw, whose runner is killed at every call of the store: no acknowledged checkpoint is ever lost."""

from __future__ import annotations

import io
import secrets
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import pytest
from agenttask.agent.stop import Stop
from agenttask.clock import SystemClock
from agenttask.contract import CONTRACT, Assignment, Exit, Location, TaskSpec
from agenttask.endings import Ending
from agenttask.lines import PlainLines
from agenttask.log import Holder
from agenttask.program.child import Home
from agenttask.run import Surroundings, run_attempt
from agenttask.status_api import NoStatus
from agenttask.store import Store, open_store
from agenttask.store.address import location_of
from agenttask.store.faults import Call, Fault, FaultyStore

from tests.api.runner import counting
from tests.cluster.environment import Environment
from tests.unit.agent.conftest import Killed

STEPS = 3


class Kept(FaultyStore):
    """One store for many attempts."""

    async def close(self) -> None:
        return None


async def whole(_: Call) -> Fault:
    return Fault.NONE


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of the counting program."""

    store: Store
    location: Location
    folder: Path
    uid: str

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    @property
    def facts(self) -> list[tuple[str, int]]:
        lines = self.ledger.read_text().split() if self.ledger.exists() else []
        return [(fact, int(n)) for fact, n in zip(lines[::2], lines[1::2], strict=True)]

    async def attempt(self, number: int, *, store: Store) -> Ending:
        home = self.folder / f"home-{number}"
        home.mkdir()
        command = (sys.executable, "-I", counting.__file__, str(self.ledger), str(STEPS))
        assignment = Assignment(
            contract=CONTRACT,
            namespace="ns",
            name="counting",
            uid=self.uid,
            attempt=number,
            location=self.location,
            spec=TaskSpec(command=command),
        )
        clock = SystemClock()
        around = Surroundings(
            store=store,
            holder=Holder(pod_uid=f"pod-{number}", process="p"),
            clock=clock,
            random=Random(1),
            stop=Stop(grace_seconds=30, clock=clock),
            lines=PlainLines(out=io.StringIO()),
            status=NoStatus(),
            environment={"PATH": "/usr/bin:/bin"},
            home=Home(root=home),
        )
        return await run_attempt(assignment=assignment, around=around)


SECOND_STEP_IS_STORED = 10
"""The call of an undisturbed attempt after which there is something to restore, content of its own object included."""


@pytest.mark.parametrize(("when", "kills"), [("before", 1), ("after", 1), ("before", 2)])
async def test_killed_at_every_store_call_it_goes_on_from_exactly_the_last_durable_folder(
    cluster: object, tmp_path: Path, when: str, kills: int
) -> None:
    server = Environment.read()
    assert server is not None
    environment = {
        "AWS_ENDPOINT_URL_S3": server.s3_host_endpoint,
        "AWS_REGION": server.s3_region,
        "AWS_ACCESS_KEY_ID": server.s3_access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.s3_secret_access_key,
    }
    location = location_of(f"s3://{server.s3_bucket}/programs", environment=environment)
    store = open_store(location, environment=environment)
    number, killed = 0, True
    while killed:
        number += 1
        where = f"killed {when} store call {number}"
        folder = tmp_path / str(number)
        folder.mkdir()
        run = Run(store=store, location=location, folder=folder, uid=secrets.token_hex(8))
        if kills == 2:
            assert await dies(run, attempt=1, when="after", number=SECOND_STEP_IS_STORED)
        killed = await dies(run, attempt=kills, when=when, number=number)
        if killed:
            ending = await run.attempt(kills + 1, store=Kept(store, before=whole))
            assert (ending.exit, ending.answer) == (Exit.FINAL, f"counted to {STEPS}"), where
        facts = run.facts
        assert "torn" not in dict(facts), where
        acknowledged = 0
        for fact, n in facts:
            if fact == "began":
                # What was stored and not yet acknowledged may be there too.
                assert n in (acknowledged, acknowledged + 1), where
            acknowledged = n if fact == "acknowledged" else acknowledged
        did = [n for fact, n in facts if fact == "did"]
        assert set(did) == set(range(1, STEPS + 1)), where
        assert len(did) <= STEPS + kills, f"{where}: more than one step was done again for a kill"
    assert number > 10, "it was killed at every store call it makes"
    await store.close()


async def dies(run: Run, *, attempt: int, when: str, number: int) -> bool:
    """Run one attempt; whether it was killed. From its death on no call gets anywhere, nor back."""
    dead = False

    async def at(place: str, call: Call) -> Fault:
        nonlocal dead
        dead = dead or (when, number) == (place, call.number)
        if dead:
            raise Killed
        return Fault.NONE

    async def after(call: Call) -> None:
        await at("after", call)

    try:
        await run.attempt(attempt, store=Kept(run.store, before=partial(at, "before"), after=after))
    except Killed:
        assert dead
    return dead
