"""What every store promises, on each of them; and that the suite finds a store that does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from agenttask.store import Entry, Source, Store
from agenttask.store.conformance import CHECKS, Broken, Check, Subject, main, verdicts
from agenttask.store.memory import MemoryStore


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
async def test_every_store_keeps_every_promise(open_any: Callable[[], Store], folder: str, check: Check) -> None:
    await check(Subject(open=open_any, log=folder))


class _Overwrites(MemoryStore):
    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        self.objects[key] = body


class _ChecksThenPuts(MemoryStore):
    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        if (taken := key in self.objects) is False:
            await asyncio.sleep(0)
            self.objects[key] = body
        if taken:
            await super().put_if_absent(key, body, first=first)


class _ListsAPage(MemoryStore):
    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return (await super().list(prefix, after=after))[:1000]


class _ListsUnordered(MemoryStore):
    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return (await super().list(prefix, after=after))[::-1]


class _KeepsWhatWasDeleted(MemoryStore):
    async def delete(self, key: str) -> None:
        return None


class _TakesAnySource(MemoryStore):
    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        await self.put_if_absent(key, b"".join([piece async for piece in source.open()]), first=first)


BROKEN: dict[str, tuple[type[MemoryStore], str]] = {
    "overwrites": (_Overwrites, "a key that is taken is refused and keeps its body"),
    "looks, then puts": (_ChecksThenPuts, "of many puts to one key exactly one wins"),
    "lists one page": (_ListsAPage, "a listing of more than a page is whole"),
    "lists in any order": (_ListsUnordered, "a listing is ordered, begins behind a key, and shows its folder alone"),
    "deletes later": (_KeepsWhatWasDeleted, "what is put or deleted shows at once, everywhere"),
    "believes its source": (_TakesAnySource, "a source that is not what it said is refused"),
}


@pytest.mark.parametrize(("kind", "promise"), BROKEN.values(), ids=BROKEN.keys())
async def test_the_suite_finds_a_store_that(kind: type[MemoryStore], promise: str) -> None:
    objects: dict[str, bytes] = {}
    found = {name: error async for name, error in verdicts(Subject(open=lambda: kind(objects), log="x"))}
    assert isinstance(found[promise], Broken)
    assert found["what was put is what is got"] is None


def test_anybody_can_check_a_store_by_its_address(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert f"{len(CHECKS)} of {len(CHECKS)} promises kept" in capsys.readouterr().out


def test_an_address_that_is_no_store_says_what_would_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ftp://host/x"]) == 78
    assert "give s3://bucket/prefix" in capsys.readouterr().err


def test_help_is_no_place_to_write_to(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "STORE-URL" in capsys.readouterr().out
