"""What checkpoints save, and what they cost: the same runs with and without them, against a scripted model.

    make bench-savings                                      half a minute

The savings are counted, not timed: every request the model gets is paid for, its reply lost or not, at four bytes a
token as it stands. Without checkpoints an attempt begins with nothing; with them it goes on from the log. Nothing else
differs. The failures are kills: nothing is said or stored any more once one has come.

The cost is timed on a versitygw of this benchmark's own, with a model that takes a second to answer.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import msgspec
from agenttask.clock import SystemClock
from agenttask.contract import Budget, Exit
from agenttask.store import open_store
from agenttask.store.address import location_of
from agenttask.store.faults import Call, Fault, FaultyStore

from tests.api.store.servers import BUCKET, REGION, versitygw
from tests.unit.agent.conftest import Attempts, Killed, World

BYTES_PER_TOKEN: Final = 4
REPLY_TOKENS: Final = 10
CHECK_SECONDS: Final = 300
"""Between two looks of the monitoring task."""
COSTED_STEPS: Final = 5
MODEL_SECONDS: Final = 1.0
RUNS: Final = (("warm-up", 1), ("every", 1), ("fifth", 5))


class Scenario(NamedTuple):
    """A run of `steps` model calls; the process dies in each call named by `failures`, numbered as in a run without."""

    name: str
    steps: int
    failures: tuple[int, ...]
    article_saved: float
    seconds_per_step: int = 0


SCENARIOS: Final = (
    Scenario("10 steps, a failure at step 5", 10, (5,), 0.50),
    Scenario("50 steps, failures at 12, 25 and 38", 50, (12, 25, 38), 0.58),
    Scenario(
        "24 h of monitoring, a look each 5 min, a failure each 3 h", 288, tuple(range(36, 288, 36)), 0.78, CHECK_SECONDS
    ),
)


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """What a run cost until its answer was there."""

    calls: int
    tokens: int
    after_failure_calls: int
    """Those made after the first failure."""


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario, both ways."""

    scenario: str
    undisturbed: Paid
    without: Paid
    with_checkpoints: Paid
    article_saved: float

    @property
    def calls_saved(self) -> float:
        return 1 - self.with_checkpoints.calls / self.without.calls

    @property
    def tokens_saved(self) -> float:
        return 1 - self.with_checkpoints.tokens / self.without.tokens

    @property
    def rework_saved(self) -> float:
        """Of the calls after the first failure."""
        return 1 - self.with_checkpoints.after_failure_calls / self.without.after_failure_calls


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the store took of a run of `COSTED_STEPS` steps."""

    every_steps: int
    run_ms: float
    store_ms: float
    """All calls of the store together, opening included, as if none had run beside another."""
    append_ms: float
    """Of these, the records behind the claim."""


def paid(scenario: Scenario, *, failures: Sequence[int], keep: bool) -> Paid:
    """Run a scenario to its answer; with `keep` each attempt finds the log of those before it."""
    return asyncio.run(_paid(scenario, failures=failures, keep=keep))


async def _paid(scenario: Scenario, *, failures: Sequence[int], keep: bool) -> Paid:
    world = World(turns=scenario.steps)
    task = Attempts(world=world, budget=Budget(steps=10 * scenario.steps))
    left = list(failures)
    at_first_failure: int | None = None

    async def think(request: httpx.Request) -> None:
        nonlocal at_first_failure
        await task.clock.sleep(scenario.seconds_per_step)
        messages = msgspec.json.decode(request.content)["messages"]
        step = 1 + sum(message["role"] == "assistant" for message in messages)
        if left and step == left[0]:
            left.pop(0)
            at_first_failure = at_first_failure or len(world.model_calls)
            raise Killed

    world.before_model = think
    attempt = 0
    while True:
        attempt += 1
        if not keep:
            task.objects = {}
        try:
            ending = await task.run(attempt)
        except Killed:
            continue
        break
    if ending.exit is not Exit.FINAL or ending.answer != world.answer():
        raise AssertionError(f"the run went wrong: {ending}")
    return Paid(
        calls=len(world.model_calls),
        tokens=sum(len(request) // BYTES_PER_TOKEN + REPLY_TOKENS for request in world.model_calls),
        after_failure_calls=len(world.model_calls) - (at_first_failure or 0),
    )


def saving(scenario: Scenario) -> Saving:
    """Measure one scenario."""
    return Saving(
        scenario=scenario.name,
        undisturbed=paid(scenario, failures=(), keep=True),
        without=paid(scenario, failures=scenario.failures, keep=False),
        with_checkpoints=paid(scenario, failures=scenario.failures, keep=True),
        article_saved=scenario.article_saved,
    )


async def cost(*, every_steps: int, scratch: Path) -> Cost:
    """Time the store in a run whose model takes its time."""
    clock = SystemClock()
    begun: dict[int, tuple[str, float]] = {}
    took: list[tuple[str, float]] = []

    async def before(call: Call) -> Fault:
        begun[call.number] = (call.key, time.perf_counter())
        return Fault.NONE

    async def after(call: Call) -> None:
        key, since = begun.pop(call.number)
        took.append((key, time.perf_counter() - since))

    async def think(_: httpx.Request) -> None:
        await asyncio.sleep(MODEL_SECONDS)

    with versitygw(scratch) as server:
        environment = {
            "AWS_ENDPOINT_URL_S3": server.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": server.access_key_id,
            "AWS_SECRET_ACCESS_KEY": server.secret_access_key,
        }
        place = location_of(f"s3://{BUCKET}/p", environment=environment)
        task = Attempts(world=World(turns=COSTED_STEPS, before_model=think))
        task.checkpoint = msgspec.structs.replace(task.checkpoint, every_steps=every_steps)
        store = FaultyStore(open_store(place, environment=environment), before=before, after=after)
        since = clock.monotonic()
        ending = await task.run(1, store=store)
        run_seconds = clock.monotonic() - since
    if ending.exit is not Exit.FINAL:
        raise AssertionError(f"the run went wrong: {ending}")
    records = [seconds for key, seconds in took if "/log/" in key and not key.endswith(("/", f"{1:012d}"))]
    return Cost(
        every_steps=every_steps,
        run_ms=run_seconds * 1000,
        store_ms=sum(seconds for _, seconds in took) * 1000,
        append_ms=sum(records) * 1000,
    )


def table(savings: Sequence[Saving], costs: Sequence[Cost]) -> str:
    """The figures as Markdown tables."""
    lines = [
        "| run | model calls: undisturbed, without, with checkpoints | calls saved | tokens without, with "
        "| tokens saved | saved of the calls after the first failure | the article says |",
        "|" + " --- |" * 7,
    ]
    for each in savings:
        row = (
            each.scenario,
            f"{each.undisturbed.calls}, {each.without.calls}, {each.with_checkpoints.calls}",
            f"{each.calls_saved:.0%}",
            f"{each.without.tokens:,}, {each.with_checkpoints.tokens:,}",
            f"{each.tokens_saved:.0%}",
            f"{each.rework_saved:.0%}",
            f"{each.article_saved:.0%}",
        )
        lines.append("| " + " | ".join(row) + " |")
    lines += [
        "",
        f"| everySteps | run of {COSTED_STEPS} steps, ms | all of the store, ms | share "
        "| records behind the claim, ms |",
        "|" + " --- |" * 5,
    ]
    for one in costs:
        share = one.store_ms / one.run_ms
        lines.append(
            f"| {one.every_steps} | {one.run_ms:.0f} | {one.store_ms:.0f} | {share:.1%} | {one.append_ms:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the tables, write JSON."""
    parser = argparse.ArgumentParser(description="What checkpoints save, and what they cost.")
    parser.add_argument("--output", type=Path, default=Path("build/bench/savings.json"))
    chosen = parser.parse_args()
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    savings = [saving(scenario) for scenario in SCENARIOS]
    with tempfile.TemporaryDirectory() as scratch:
        # The first run of a process pays for what is imported and compiled once: it is not counted.
        costs = [asyncio.run(cost(every_steps=number, scratch=Path(scratch) / name)) for name, number in RUNS][1:]
    chosen.output.write_bytes(msgspec.json.format(msgspec.json.encode({"savings": savings, "costs": costs})))
    print(table(savings, costs))


if __name__ == "__main__":
    main()
