"""Forks on versitygw: killed between copy and claim and everywhere around, they are copied once and for all."""

from __future__ import annotations

import secrets
import signal
from dataclasses import dataclass, field
from typing import Any

import pytest
from agenttask import contract
from agenttask.clock import SystemClock
from agenttask.log import Patience, Restored, read
from agenttask.store import Store, open_store
from agenttask.store.address import location_of
from agenttask.store.faults import Call, Fault, FaultyStore

from tests.api.runner.conftest import ANSWER, STEPS, Job, MakeJob
from tests.api.runner.local_process import Place
from tests.cluster.environment import Environment
from tests.unit.agent.conftest import Attempts, Killed, World

BEFORE_THE_ANSWER = 2 * STEPS
"""The record with the last tool's result: a claim and the start, and then two records for each turn."""


@dataclass(frozen=True, kw_only=True)
class OnS3(Job):
    """A job on the S3 server; `resume_from` makes it a fork."""

    server: Environment
    prefix: str
    resume_from: dict[str, Any] | None = field(default=None)

    @property
    def address(self) -> str:
        return f"s3://{self.server.s3_bucket}/{self.prefix}"

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {
            "AWS_ENDPOINT_URL_S3": self.server.s3_host_endpoint,
            "AWS_REGION": self.server.s3_region,
            "AWS_ACCESS_KEY_ID": self.server.s3_access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.server.s3_secret_access_key,
        }

    def manifest(self, *, prompt: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
        made = super().manifest(prompt=prompt, tools=tools)
        if self.resume_from is not None:
            del made["spec"]["prompt"]
            made["spec"]["resumeFrom"] = self.resume_from
        return made

    def run(self, *, dies: Place | None = None) -> int:
        return self.end(self.start(dies=dies, store=self.address))

    def key(self, seq: int) -> str:
        return f"{self.prefix}/local/{self.name}/local/log/{seq:012d}"

    async def log(self, *, at: int | None = None) -> Restored:
        store = open_store(location_of(self.address, environment=self.environment), environment=self.environment)
        prefix = f"{self.prefix}/local/{self.name}/local"
        try:
            return await read(store=store, prefix=prefix, clock=SystemClock(), patience=Patience(), at=at)
        finally:
            await store.close()


@pytest.fixture
def on_s3(cluster: object, make_job: MakeJob) -> OnS3:
    """A run of twelve steps that is over."""
    server = Environment.read()
    assert server is not None
    original = adopt(make_job(), server=server, prefix=f"forks-{secrets.token_hex(8)}")
    original.write()
    assert original.run() == 0
    return original


def adopt(job: Job, **more: Any) -> OnS3:
    """The job, on the server."""
    return OnS3(name=job.name, folder=job.folder, model=job.model, tools=job.tools, **more)


def fork_of(original: OnS3, job: Job, **resume: Any) -> OnS3:
    fork = adopt(job, server=original.server, prefix=original.prefix, resume_from=resume)
    fork.write()
    return fork


async def test_a_process_killed_between_copy_and_claim_leaves_nothing_that_counts(
    on_s3: OnS3, make_job: MakeJob
) -> None:
    fork = fork_of(on_s3, make_job(), task=on_s3.name, key=on_s3.key(BEFORE_THE_ANSWER))
    assert fork.run(dies=Place(when="record", number=1)) == -signal.SIGKILL
    assert (await fork.log()).head == 0
    assert fork.run() == 0
    assert fork.lines.count("forking") == 2
    assert fork.answer == ANSWER
    assert [call.turn for call in fork.model.journal(fork.name)] == [STEPS - 1]
    assert fork.tools.uses(task=fork.name) == []
    first = (await fork.log(at=1)).tip
    assert first is not None
    assert first.origin is not None
    assert (first.origin.seq, first.origin.log) == (BEFORE_THE_ANSWER, on_s3.key(0).rpartition("/log/")[0])


async def test_a_process_killed_right_after_its_claim_copies_no_more(on_s3: OnS3, make_job: MakeJob) -> None:
    fork = fork_of(on_s3, make_job(), task=on_s3.name, key=on_s3.key(BEFORE_THE_ANSWER))
    assert fork.run(dies=Place(when="record", number=2)) == -signal.SIGKILL
    assert fork.run() == 0
    assert fork.lines.count("forking") == 1
    assert fork.answer == ANSWER


class Kept(FaultyStore):
    """One store for many attempts."""

    async def close(self) -> None:
        return None


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_every_store_call_a_fork_is_copied_once_and_pays_for_nothing_twice(
    on_s3: OnS3, when: str
) -> None:
    store = open_store(location_of(on_s3.address, environment=on_s3.environment), environment=on_s3.environment)
    original = Attempts(world=World(turns=3), uid=secrets.token_hex(8))
    await original.run(1, store=Kept(store, before=whole))
    origin = contract.ForkedFrom(task="task", uid=original.uid, key=f"p/ns/task/{original.uid}/log/{4:012d}", seq=4)
    number, killed = 0, True
    while killed:
        number += 1
        fork = Attempts(
            world=World(turns=3),
            uid=secrets.token_hex(8),
            prompt=None,
            resume_from=contract.ResumeFrom(task="task"),
            forked_from=origin,
        )
        killed = await dies(fork, store=store, when=when, number=number)
        where = f"killed {when} store call {number}"
        if killed:
            assert (await fork.run(2, store=Kept(store, before=whole))).answer == original.world.answer(), where
        assert fork.world.repeated_model_calls() <= 1, where
        assert min(fork.world.model_calls, key=len) == original.world.model_calls[1], where
        prefix = contract.log_prefix(prefix="p", namespace="ns", name="task", uid=fork.uid)
        first = (await read(store=store, prefix=prefix, clock=SystemClock(), patience=Patience(), at=1)).tip
        assert first is not None
        assert first.origin is not None, where
        assert first.origin.about == {"task": "task", "uid": original.uid}, where
    assert number >= 20, "it was killed at every store call it makes"
    await store.close()


async def whole(_: Call) -> Fault:
    return Fault.NONE


async def dies(fork: Attempts, *, store: Store, when: str, number: int) -> bool:
    """Run the first attempt; whether it was killed."""

    async def before(call: Call) -> Fault:
        if (when, number) == ("before", call.number):
            raise Killed
        return Fault.NONE

    async def after(call: Call) -> None:
        if (when, number) == ("after", call.number):
            raise Killed

    try:
        await fork.run(1, store=Kept(store, before=before, after=after))
    except Killed:
        return True
    return False


async def test_a_fork_whose_key_is_gone_ends_with_78_and_writes_nothing(on_s3: OnS3, make_job: MakeJob) -> None:
    gone = on_s3.key(999)
    fork = fork_of(on_s3, make_job(), task=on_s3.name, key=gone)
    assert fork.run() == 78
    assert gone in fork.lines
    assert (await fork.log()).head == 0


async def test_the_newest_record_of_a_task_is_what_is_forked_without_a_key(on_s3: OnS3, make_job: MakeJob) -> None:
    fork = fork_of(on_s3, make_job(), task=on_s3.name)
    assert fork.run() == 0
    assert fork.answer == ANSWER
    assert fork.model.journal(fork.name) == [], "the answer was there"


async def test_a_location_names_what_a_cluster_has_left_behind(on_s3: OnS3, make_job: MakeJob) -> None:
    place = {
        "type": "s3",
        "bucket": on_s3.server.s3_bucket,
        "prefix": on_s3.prefix,
        "endpoint": on_s3.server.s3_host_endpoint,
        "region": on_s3.server.s3_region,
    }
    fork = fork_of(on_s3, make_job(), location=place, key=on_s3.key(BEFORE_THE_ANSWER))
    assert fork.run() == 0
    assert fork.answer == ANSWER


WRONG = {
    "another store": ({"location": {"type": "s3", "bucket": "others"}}, "bucket is others there"),
    "a task that never ran": ({"task": "nobody"}, "there is no run of nobody in this store"),
    "another namespace": ({"task": "nobody", "key": f"a/b/c/log/{1:012d}"}, "spec.resumeFrom.key must be"),
    "neither task nor location": ({}, "exactly one of task and location"),
}


@pytest.mark.parametrize(("resume", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_fork_that_cannot_be_is_refused_by_name(
    on_s3: OnS3, make_job: MakeJob, resume: dict[str, Any], words: str
) -> None:
    key = {"key": on_s3.key(1)} if "location" in resume else {}
    fork = fork_of(on_s3, make_job(), **resume, **key)
    assert fork.run() == 78
    assert words in fork.lines
