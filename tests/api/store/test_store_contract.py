"""What every store promises, on each of them."""

from __future__ import annotations

import asyncio
import os

import pytest
from agenttask.errors import Absent, Exists, TooLarge
from agenttask.store import Entry, Store

LARGE = 1 << 24


async def fill(store: Store, folder: str, names: list[str]) -> None:
    """Put one byte under each name, the first one alone."""
    await store.put_if_absent(f"{folder}/{names[0]}", b"x", first=True)
    await asyncio.gather(*(store.put_if_absent(f"{folder}/{name}", b"x", first=False) for name in names[1:]))


@pytest.mark.parametrize("body", [b"", b"hello", os.urandom(5 * 2**20)], ids=["empty", "small", "5 MiB"])
async def test_what_was_put_is_what_is_got(store: Store, folder: str, body: bytes) -> None:
    await store.put_if_absent(f"{folder}/a", body, first=True)
    assert await store.get(f"{folder}/a", max_bytes=LARGE) == body
    assert await store.list(f"{folder}/", after=None) == [Entry(f"{folder}/a", len(body))]


async def test_a_key_that_is_taken_is_refused_and_keeps_its_body(store: Store, folder: str) -> None:
    await store.put_if_absent(f"{folder}/a", b"one", first=True)
    for body in (b"two", b"one"):
        with pytest.raises(Exists):
            await store.put_if_absent(f"{folder}/a", body, first=False)
    assert await store.get(f"{folder}/a", max_bytes=LARGE) == b"one"


async def test_of_many_puts_to_one_key_exactly_one_wins(store: Store, folder: str) -> None:
    await store.put_if_absent(f"{folder}/0", b"", first=True)
    for number in range(1, 5):
        bodies = [f"{number}-{writer}".encode() for writer in range(16)]
        key = f"{folder}/{number}"
        outcomes = await asyncio.gather(
            *(store.put_if_absent(key, body, first=False) for body in bodies), return_exceptions=True
        )
        won = [body for body, outcome in zip(bodies, outcomes, strict=True) if outcome is None]
        assert [type(outcome) for outcome in outcomes if outcome is not None] == [Exists] * 15
        assert await store.get(key, max_bytes=LARGE) == won[0]


async def test_nothing_under_a_key_is_absent(store: Store, folder: str) -> None:
    with pytest.raises(Absent):
        await store.get(f"{folder}/a", max_bytes=LARGE)
    assert await store.list(f"{folder}/", after=None) == []


async def test_an_object_beyond_the_readers_bound_is_not_read(store: Store, folder: str) -> None:
    await store.put_if_absent(f"{folder}/a", b"12345", first=True)
    assert await store.get(f"{folder}/a", max_bytes=5) == b"12345"
    with pytest.raises(TooLarge):
        await store.get(f"{folder}/a", max_bytes=4)


async def test_a_listing_is_ordered_and_begins_behind_a_key(store: Store, folder: str) -> None:
    await fill(store, folder, ["b", "a", "d", "c"])
    listed = [entry.key.rpartition("/")[2] for entry in await store.list(f"{folder}/", after=None)]
    behind = [entry.key.rpartition("/")[2] for entry in await store.list(f"{folder}/", after=f"{folder}/b")]
    assert (listed, behind) == (["a", "b", "c", "d"], ["c", "d"])
    assert await store.list(f"{folder}/", after=f"{folder}/d") == []


async def test_a_listing_shows_the_folder_alone(store: Store, folder: str) -> None:
    await store.put_if_absent(f"{folder}/a", b"x", first=True)
    await store.put_if_absent(f"{folder}/deeper/b", b"x", first=True)
    await store.put_if_absent(f"{folder}-beside/c", b"x", first=True)
    assert [entry.key for entry in await store.list(f"{folder}/", after=None)] == [f"{folder}/a"]


async def test_a_listing_of_more_than_a_page_is_whole(store: Store, folder: str) -> None:
    names = [f"{number:012d}" for number in range(1, 1106)]
    await fill(store, folder, names)
    assert [entry.key for entry in await store.list(f"{folder}/", after=None)] == [f"{folder}/{name}" for name in names]
    assert len(await store.list(f"{folder}/", after=f"{folder}/{50:012d}")) == 1055
