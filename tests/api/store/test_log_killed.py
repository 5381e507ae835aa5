"""A writing process killed at every store call, and between any two file operations: what was acknowledged stands."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from agenttask.clock import SystemClock
from agenttask.log import Kind, Patience, read
from agenttask.store.filesystem import FilesystemStore

from tests.api import forked
from tests.api.store.killed_writer import PREFIX, STEPS, Place, Writer, steps_of


def run(writer: Writer) -> int:
    """Let a writer live; its exit code."""
    return forked.end(forked.start(writer.run), seconds=30)


@pytest.mark.parametrize("when", ["before", "after", "file operation"])
async def test_a_writer_killed_at_any_store_call_loses_nothing_it_had_acknowledged(tmp_path: Path, when: str) -> None:
    number, killed = 0, True
    while killed:
        number += 1
        root, acknowledged = tmp_path / f"{number}" / "store", tmp_path / f"{number}" / "acknowledged"
        root.mkdir(parents=True)
        acknowledged.touch()
        dies = Place(when=when, number=number)
        code = run(Writer(root=root, attempt=1, acknowledged=acknowledged, dies=dies))
        killed = code == -signal.SIGKILL
        assert killed or code == 0
        promised = [int(line) for line in acknowledged.read_text().split()]

        store = FilesystemStore(root=root)
        records = (await read(store=store, prefix=PREFIX, clock=SystemClock(), patience=Patience())).records
        assert steps_of(records)[: len(promised)] == promised
        assert len(steps_of(records)) <= len(promised) + 1, "at most the record in flight is there besides"

        assert run(Writer(root=root, attempt=2, acknowledged=acknowledged, dies=None)) == 0
        records = (await read(store=store, prefix=PREFIX, clock=SystemClock(), patience=Patience())).records
        assert steps_of(records) == list(range(1, STEPS + 1)), "as in an undisturbed run"
        assert records[-1].kind is Kind.FINAL
    assert number > 2 * STEPS, "the writer was killed at every place it has"
