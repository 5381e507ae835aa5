"""Random damage between the attempts of a task: what is restored is what was written, up to where it says it was lost.

`SEED=n` repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import NamedTuple

import hypothesis
from agenttask.errors import CheckpointCorrupt, CheckpointLost
from agenttask.log.blob import LARGE_BYTES
from agenttask.store.memory import MemoryStore
from hypothesis import strategies as st

from tests.unit.log.ledger import claim, look

SEED = int(os.environ.get("SEED") or random.randrange(2**32))
HARM = ("flip", "cut", "drop", "swap")


class Turn(NamedTuple):
    """One attempt: it writes, and then some objects of the store are harmed, counted from the newest of all kinds."""

    writes: int
    large: int
    harm: tuple[tuple[str, int], ...]


TURNS = st.lists(
    st.builds(
        Turn,
        st.integers(0, 14),
        st.integers(0, 14),
        st.lists(st.tuples(st.sampled_from(HARM), st.integers(0, 40)), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=6,
)


def harm(store: MemoryStore, kind: str, number: int) -> None:
    keys = sorted(store.objects, key=lambda key: key.rpartition("/")[2], reverse=True)
    if not keys:
        return
    key, other = keys[number % len(keys)], keys[(number + 1) % len(keys)]
    body = store.objects[key]
    if kind == "drop":
        del store.objects[key]
    elif kind == "swap":
        store.objects[key] = store.objects[other]
    else:
        middle = len(body) // 2
        store.objects[key] = body[:middle] if kind == "cut" else body[:middle] + b"!" + body[middle + 1 :]


async def play(turns: list[Turn]) -> None:
    store, texts = MemoryStore(), list[str]()
    head = 0
    for attempt, turn in enumerate(turns, 1):
        before = dict(store.objects)
        try:
            ledger = await claim(store, attempt=attempt, every=3, recorded=head or None)
        except (CheckpointCorrupt, CheckpointLost):
            assert store.objects == before, "what cannot be gone on from is not touched"
            return
        assert ledger.opened is not None
        assert ledger.opened.claim is not None
        lost = ledger.opened.restored.lost
        assert ledger.texts == texts[: len(ledger.texts)], "nothing that was not written"
        assert lost is not None or ledger.texts == texts, "nothing is lost silently"
        assert ledger.opened.claim.seq > head, "numbers never fall"
        hypothesis.event("rewound" if lost else "damaged" if ledger.opened.restored.damage else "whole")
        for number in range(turn.writes):
            text = f"{attempt}: {number}"
            await ledger.write(text.ljust(LARGE_BYTES + 1) if number == turn.large else text)
        texts = ledger.texts
        assert await look(store) == texts, "whatever was lost, what was written since is whole"
        assert ledger.log is not None
        head = ledger.log.head.seq
        for kind, number in turn.harm:
            harm(store, kind, number)


@hypothesis.seed(SEED)
@hypothesis.settings(max_examples=300)
@hypothesis.given(TURNS)
def test_whatever_is_damaged_nothing_is_made_up_and_nothing_is_lost_silently(turns: list[Turn]) -> None:
    hypothesis.note(f"SEED={SEED}")
    asyncio.run(play(turns))
