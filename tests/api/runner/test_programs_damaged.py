"""Programs of which the store has lost a file: they go on from the newest folder that is whole, and it is told."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
from agenttask.agent.events import Item, Stored, decode
from agenttask.agent.stop import Stop
from agenttask.clock import SystemClock
from agenttask.contract import CONTRACT, Assignment, Checkpoint, Exit, Location, RunnerReason, RunnerStatus, TaskSpec
from agenttask.endings import Ending
from agenttask.lines import PlainLines
from agenttask.log import Abandoned, Holder, Keys, Patience, Restored, read
from agenttask.log.record import parse
from agenttask.program.child import Home
from agenttask.run import Surroundings, run_attempt
from agenttask.status_api import Answer
from agenttask.store.memory import MemoryStore

PREFIX = "ns/steps/uid"
SCRIPT = """
n=$(cat n 2>/dev/null || echo 0)
echo "began $n" >> "$1"
while [ "$n" -lt "$2" ]; do
  n=$((n + 1))
  [ -e lasting ] || head -c 9000 /dev/zero > lasting
  printf '%09000d' "$n" > large
  echo "$n" > n
  agenttask checkpoint
done
cat large > "$AGENTTASK_RESULT"
exit "$3"
"""


@dataclass
class Told:
    """A status that keeps what it was told last."""

    last: RunnerStatus | None = None

    async def apply(self, status: RunnerStatus) -> tuple[Answer, str]:
        self.last = status
        return Answer.ACCEPTED, ""

    async def close(self) -> None:
        """There is nothing to close."""


@dataclass
class Steps:
    """Attempts of a program that has a small file, a large one that changes with each step, and one that lasts."""

    folder: Path
    objects: dict[str, bytes] = field(default_factory=dict)
    lines: io.StringIO = field(default_factory=io.StringIO)
    status: Told = field(default_factory=Told)

    async def attempt(
        self, number: int, *, upto: int, code: int, on_corruption: Literal["Rewind", "Stall"] = "Rewind"
    ) -> Ending:
        home = self.folder / f"home-{number}"
        home.mkdir()
        command = ("sh", "-euc", SCRIPT, "steps", str(self.folder / "ledger"), str(upto), str(code))
        assignment = Assignment(
            contract=CONTRACT,
            namespace="ns",
            name="steps",
            uid="uid",
            attempt=number,
            location=Location(type="s3", bucket="b"),
            spec=TaskSpec(command=command, checkpoint=Checkpoint(on_corruption=on_corruption)),
        )
        clock = SystemClock()
        around = Surroundings(
            store=MemoryStore(self.objects),
            holder=Holder(pod_uid=f"pod-{number}", process="p"),
            clock=clock,
            random=Random(number),
            stop=Stop(grace_seconds=30, clock=clock),
            lines=PlainLines(out=self.lines),
            status=self.status,
            environment={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
            home=Home(root=home),
        )
        return await run_attempt(assignment=assignment, around=around)

    async def log(self) -> Restored:
        return await read(store=MemoryStore(self.objects), prefix=PREFIX, clock=SystemClock(), patience=Patience())

    async def whole(self, step: int) -> str | None:
        """Key of the newest record that has the folder as it was after that step, and nothing of the next."""
        records = (await self.log()).records
        steps = [at for at, record in enumerate(records) if any(map(stored, record.events))]
        return records[(steps[step] if step < len(steps) else len(records)) - 1].ref.key

    async def damage(self, path: str, *, step: int) -> str:
        """Have the store lose the content a file got with that step; its key."""
        records = [record for record in (await self.log()).records if any(map(stored, record.events))]
        record = records[step - 1]
        (digest,) = {item.digest for event in record.events for item in stored(event) if item.path == path}
        (ref,) = [ref for ref in record.attached if ref.digest == digest]
        key = Keys(prefix=PREFIX).named(ref.name)
        del self.objects[key]
        return key

    @property
    def abandoned(self) -> list[Abandoned]:
        """What claims have given up."""
        keys = Keys(prefix=PREFIX)
        found = {seq: key for key in self.objects if (seq := keys.seq(key)) is not None and key == keys.record(seq)}
        records = (parse(key=key, seq=seq, body=self.objects[key]) for seq, key in sorted(found.items()))
        return [record.abandoned for record in records if record.abandoned is not None]

    @property
    def began(self) -> list[str]:
        """With which step each attempt's program has begun."""
        return (self.folder / "ledger").read_text().splitlines()


def stored(raw: dict[str, Any]) -> tuple[Item, ...]:
    event = decode(raw)
    return event.changed if isinstance(event, Stored) else ()


@pytest.fixture
async def steps(tmp_path: Path) -> Steps:
    """One attempt has come to step 4 and then failed."""
    made = Steps(folder=tmp_path)
    assert (await made.attempt(1, upto=4, code=3)).exit == 3
    return made


CASES: dict[str, tuple[list[tuple[str, int]], int]] = {
    "nothing": ([], 4),
    "the newest folder's file": ([("large", 4)], 3),
    "those of the two newest": ([("large", 3), ("large", 4)], 2),
    "two of the newest folder": ([("large", 4), ("lasting", 1)], 0),
    "one of a folder before": ([("large", 2)], 4),
}


@pytest.mark.parametrize(("damaged", "want"), CASES.values(), ids=CASES.keys())
async def test_it_goes_on_from_the_newest_folder_that_is_whole(
    steps: Steps, damaged: list[tuple[str, int]], want: int
) -> None:
    keys = [await steps.damage(path, step=step) for path, step in damaged]
    whole = await steps.whole(want)
    ending = await steps.attempt(2, upto=6, code=0)
    assert (ending.exit, ending.answer) == (Exit.FINAL, f"{6:09000d}")
    assert steps.began == ["began 0", f"began {want}"]
    assert steps.status.last is not None
    assert steps.status.last.checkpoint.resumed_from == whole
    assert ("rewound" in steps.lines.getvalue()) == (want < 4)
    if want < 4:
        assert any(key in steps.lines.getvalue() for key in keys)


async def test_what_is_lost_stands_in_the_claim_and_a_later_attempt_finds_all_it_needs(steps: Steps) -> None:
    key = await steps.damage("large", step=4)
    assert (await steps.attempt(2, upto=5, code=3)).exit == 3
    assert [key in lost.why for lost in steps.abandoned] == [True]
    steps.lines.truncate(0)
    assert (await steps.attempt(3, upto=6, code=0)).exit == Exit.FINAL
    assert steps.began == ["began 0", "began 3", "began 5"]
    assert "damage" not in steps.lines.getvalue()


async def test_with_stall_nothing_is_given_up_and_the_object_is_named(steps: Steps) -> None:
    key = await steps.damage("large", step=4)
    ending = await steps.attempt(2, upto=6, code=0, on_corruption="Stall")
    assert (ending.exit, ending.reason) == (Exit.STALLED, RunnerReason.CHECKPOINT_CORRUPT)
    assert key in ending.message
    assert steps.began == ["began 0"]
    assert (await steps.log()).lost is None
