"""A writer of fifty records killed at every single call of its store; snapshots, files and retention are among them.
And one of a few, killed between any two file operations.
"""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from agenttask.clock import SystemClock
from agenttask.log import Keys, Patience, attached_to, read, read_blob, survey
from agenttask.store.filesystem import FilesystemStore

from tests.api import forked
from tests.api.store.killed_keeper import (
    POLICY,
    PREFIX,
    STEPS,
    Place,
    When,
    Writer,
    content_of,
    holds_file,
    steps_of,
)

AT_ONCE = max(2, os.cpu_count() or 2)
EVERY_CALL = 120
"""An undisturbed run makes more calls than this."""
FEW_STEPS = 3
EVERY_OPERATION = 40
"""As many file operations, at least, make so few steps."""
MORE_STEPS = 4
"""What a successor does before it finishes: enough to come to a snapshot where one is due."""


def run(writer: Writer) -> int:
    """Let a writer live; its exit code."""
    return forked.end(forked.start(writer.run))


async def judge(root: Path, promised: list[int], *, finished: bool) -> None:
    """Nothing acknowledged is lost, nothing is there twice, and all that is kept restores."""
    store = FilesystemStore(root=root)
    found = await read(store=store, prefix=PREFIX, clock=SystemClock(), patience=Patience())
    assert (found.lost, found.damage) == (None, ())
    steps = steps_of(found)
    assert steps == list(range(1, len(steps) + 1))
    assert len(promised) <= len(steps) <= len(promised) + 1, "at most the record in flight is there besides"
    assert found.final is not None or not finished
    if steps:
        ref = attached_to(found)[content_of(len(steps))]
        assert await holds_file(read_blob(ref, store=store, keys=Keys(prefix=PREFIX)), len(steps))
    seen = await survey(store=store, prefix=PREFIX, clock=SystemClock(), patience=Patience())
    assert seen.problems == ()
    assert len(seen.snapshots) <= POLICY.keep_last + 2, "retention has done its work, but for what was under way"


def killed_at(root: Path, place: Place, *, steps: int = STEPS) -> bool:
    """One life of so many steps, and a shorter one of its successor; whether the first was killed."""
    root.mkdir()
    acknowledged, again, store = root / "acknowledged", root / "again", root / "store"
    for file in (acknowledged, again):
        file.touch()
    store.mkdir()
    code = run(Writer(root=store, attempt=1, acknowledged=acknowledged, dies=place, steps=steps))
    assert code in (0, -signal.SIGKILL), code
    over = steps in _lines(acknowledged)
    if (store / PREFIX / "log").exists():
        asyncio.run(judge(store, _lines(acknowledged), finished=over))
    assert run(Writer(root=store, attempt=2, acknowledged=again, steps=MORE_STEPS)) == 0
    assert not set(_lines(acknowledged)) & set(_lines(again)), "what was acknowledged is not done again"
    asyncio.run(judge(store, _lines(acknowledged) + _lines(again), finished=True))
    return code != 0


def _lines(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()]


def killed_everywhere(folder: Path, when: When, *, steps: int) -> int:
    """A life for each place of this kind; how many there are, or a few more."""
    number, killed = 0, True
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while killed:
            batch = range(number + 1, number + 1 + 4 * AT_ONCE)
            number = batch[-1]
            lives = [threads.submit(killed_at, folder / f"{each}", Place(when, each), steps=steps) for each in batch]
            ends = [life.result() for life in lives]
            killed = all(ends)
    return number


@pytest.mark.parametrize("when", [When.BEFORE, When.ANSWER_LOST, When.AFTER])
def test_a_writer_killed_at_every_store_call_of_fifty_records_loses_nothing_acknowledged(
    tmp_path: Path, when: When
) -> None:
    assert killed_everywhere(tmp_path, when, steps=STEPS) > EVERY_CALL


def test_a_writer_killed_between_any_two_file_operations_loses_nothing_acknowledged(tmp_path: Path) -> None:
    assert killed_everywhere(tmp_path, When.FILE_OPERATION, steps=FEW_STEPS) > EVERY_OPERATION
