"""What every store promises, as checks that run on any: for people who write another store, or doubt one they have.

    python -m agenttask.store.conformance s3://bucket/prefix          one line per promise; exit code 1 if one is broken

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
    async def test_my_store(check: Check) -> None:
        await check(Subject(open=MyStore, log="somewhere/unused"))

Each check wants a log of its own that holds nothing, and leaves a few objects behind there. A broken promise raises
`Broken`. What no check can show: that an acknowledged put outlives a power cut.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from agenttask.errors import Absent, AgentTaskError, Exists, StoreError, TooLarge
from agenttask.store.base import Entry, Source, Store
from agenttask.store.source import of_bytes

LARGE: Final = 1 << 30
MAX_PIECE_BYTES: Final = 8 << 20
WRITERS: Final = 8


class Broken(AssertionError):  # noqa: N818 - the word of the output
    """The store does not keep a promise; the message says which and how."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The store under test: how to open it (several at once, as several processes would), and a log to use."""

    open: Callable[[], Store]
    log: str
    """Where nothing lies yet; without a trailing slash."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        """One opening of it."""
        store = self.open()
        try:
            yield store
        finally:
            await store.close()

    def key(self, name: str, *, folder: str = "log") -> str:
        return f"{self.log}/{folder}/{name}"


Check = Callable[[Subject], Awaitable[None]]


def _require(kept: bool, otherwise: str) -> None:
    if not kept:
        raise Broken(otherwise)


async def _refused(call: Awaitable[object], *, by: type[Exception], what: str) -> None:
    try:
        await call
    except by:
        return
    except AgentTaskError as error:
        raise Broken(f"{what} raised {type(error).__name__} ({error}) and not {by.__name__}") from error
    raise Broken(f"{what} was not refused by {by.__name__}")


async def _all(store: Store, key: str, *, offset: int = 0) -> bytes:
    async with aclosing(store.stream(key, offset=offset)) as pieces:
        return b"".join([piece async for piece in pieces])


async def _names(store: Store, subject: Subject, *, after: str | None = None) -> list[str]:
    return [entry.key.rpartition("/")[2] for entry in await store.list(subject.key(""), after=after)]


async def _round_trip(subject: Subject) -> None:
    async with subject.opened() as store:
        for number, body in enumerate([b"", b"hello", os.urandom(5 << 20)]):
            key = subject.key(str(number))
            await store.put_if_absent(key, body, first=number == 0)
            _require(await store.get(key, max_bytes=LARGE) == body, f"{len(body)} bytes did not come back as they were")
            _require(await _all(store, key) == body, f"{len(body)} bytes were streamed back otherwise")
        sizes = sorted(entry.size for entry in await store.list(subject.key(""), after=None))
        _require(sizes == [0, 5, 5 << 20], f"a listing says {sizes} of the sizes")


async def _taken(subject: Subject) -> None:
    async with subject.opened() as store:
        key = subject.key("1")
        await store.put_if_absent(key, b"one", first=True)
        for body in (b"two", b"one", b""):
            await _refused(store.put_if_absent(key, body, first=False), by=Exists, what="a put to a taken key")
            stream = store.put_stream_if_absent(key, of_bytes(body), first=False)
            await _refused(stream, by=Exists, what="a streamed put to a taken key")
        _require(await store.get(key, max_bytes=LARGE) == b"one", "a refused put changed the object")


async def _one_wins(subject: Subject) -> None:
    async with subject.opened() as one, subject.opened() as other:
        await one.put_if_absent(subject.key("0"), b"", first=True)
        for number in range(1, 5):
            key = subject.key(str(number))
            bodies = [f"{number}-{writer}".encode() * (1 + writer) for writer in range(2 * WRITERS)]
            puts = [
                store.put_stream_if_absent(key, of_bytes(body), first=False)
                if index % 4 == 3
                else store.put_if_absent(key, body, first=False)
                for index, (store, body) in enumerate(zip([one, other] * WRITERS, bodies, strict=True))
            ]
            outcomes = await asyncio.gather(*puts, return_exceptions=True)
            won = [body for body, outcome in zip(bodies, outcomes, strict=True) if outcome is None]
            _require(len(won) == 1, f"{len(won)} of {len(bodies)} puts to one key were taken")
            rest = {type(outcome).__name__ for outcome in outcomes if outcome is not None}
            _require(rest == {"Exists"}, f"the others were told {rest} and not Exists")
            _require(await other.get(key, max_bytes=LARGE) == won[0], "what stands there is not what was acknowledged")


async def _nothing_there(subject: Subject) -> None:
    async with subject.opened() as store:
        key = subject.key("1")
        await _refused(store.get(key, max_bytes=LARGE), by=Absent, what="a get of nothing")
        await _refused(_all(store, key), by=Absent, what="a stream of nothing")
        _require(await store.list(subject.key(""), after=None) == [], "a folder that is not there is not empty")
        _require(await store.folders(f"{subject.log}/") == [], "a log that is not there has folders")
        await store.delete(key)


async def _bounded(subject: Subject) -> None:
    async with subject.opened() as store:
        await store.put_if_absent(subject.key("1"), b"12345", first=True)
        _require(await store.get(subject.key("1"), max_bytes=5) == b"12345", "a bound of its exact size is too small")
        await _refused(store.get(subject.key("1"), max_bytes=4), by=TooLarge, what="a get of more than max_bytes")


async def _listing(subject: Subject) -> None:
    async with subject.opened() as store:
        for index, name in enumerate(["b", "a", "d", "c"]):
            await store.put_if_absent(subject.key(name), b"x", first=index == 0)
        await store.put_if_absent(subject.key("e", folder="log-beside"), b"x", first=False)
        names = await _names(store, subject)
        _require(names == ["a", "b", "c", "d"], f"a listing gave {names}")
        behind = await _names(store, subject, after=subject.key("b"))
        _require(behind == ["c", "d"], f"a listing behind b gave {behind}")
        _require(
            await _names(store, subject, after=subject.key("bb")) == ["c", "d"], "`after` need not be a key itself"
        )
        _require(
            await _names(store, subject, after=subject.key("d")) == [], "a listing behind the last key is not empty"
        )


async def _long_listing(subject: Subject) -> None:
    async with subject.opened() as store:
        names = [f"{number:012d}" for number in range(1, 1106)]
        await store.put_if_absent(subject.key(names[0]), b"x", first=True)
        await asyncio.gather(*(store.put_if_absent(subject.key(name), b"x", first=False) for name in names[1:]))
        _require(await _names(store, subject) == names, f"a listing of {len(names)} objects is not whole")
        behind = await _names(store, subject, after=subject.key(names[49]))
        _require(behind == names[50:], f"a listing behind the 50th of them gave {len(behind)}")


async def _streams(subject: Subject) -> None:
    body = os.urandom((20 << 20) + 12345)
    async with subject.opened() as store:
        key = subject.key("large", folder="blob")
        await store.put_if_absent(subject.key("1"), b"x", first=True)
        await store.put_stream_if_absent(key, of_bytes(body), first=False)
        longest, digest = 0, hashlib.sha256()
        async with aclosing(store.stream(key)) as pieces:
            async for piece in pieces:
                longest = max(longest, len(piece))
                digest.update(piece)
        _require(digest.digest() == hashlib.sha256(body).digest(), "a streamed body did not come back as it was")
        _require(longest <= MAX_PIECE_BYTES, f"a piece had {longest} bytes")
        for offset in (1, 4 << 20, len(body) - 1, len(body)):
            _require(
                await _all(store, key, offset=offset) == body[offset:], f"from byte {offset} on it is another body"
            )
        found = await store.list(subject.key("", folder="blob"), after=None)
        _require(list(found) == [Entry(key, len(body))], f"a listing says {found}")
        await _refused(store.get(key, max_bytes=len(body) - 1), by=TooLarge, what="a get of more than max_bytes")
        await store.delete(key)
        await _refused(_all(store, key), by=Absent, what="a stream of what was deleted")


async def _left_early(subject: Subject) -> None:
    body = os.urandom(9 << 20)
    async with subject.opened() as store:
        await store.put_stream_if_absent(subject.key("1"), of_bytes(body), first=True)
        for _ in range(40):
            async with aclosing(store.stream(subject.key("1"))) as pieces:
                await anext(pieces)
        _require(await store.get(subject.key("1"), max_bytes=LARGE) == body, "streams left early spoil later calls")


async def _lying_source(subject: Subject) -> None:
    async with subject.opened() as store:
        await store.put_if_absent(subject.key("1"), b"x", first=True)
        honest = of_bytes(b"12345" * (1 << 20))
        lies = {
            "shorter": Source(size=honest.size + 1, sha256=honest.sha256, open=honest.open),
            "longer": Source(size=honest.size - 1, sha256=honest.sha256, open=honest.open),
            "other bytes": Source(size=honest.size, sha256="0" * 64, open=honest.open),
        }
        for name, source in lies.items():
            put = store.put_stream_if_absent(subject.key("2"), source, first=False)
            await _refused(put, by=ValueError, what=f"a source that is {name} than it said")
            _require(await _names(store, subject) == ["1"], f"a source that is {name} than it said left an object")
        await store.put_stream_if_absent(subject.key("2"), honest, first=False)


async def _deleting(subject: Subject) -> None:
    async with subject.opened() as store, subject.opened() as other:
        await store.put_if_absent(subject.key("0"), b"x", first=True)
        for round_ in range(10):
            await store.put_if_absent(subject.key("1"), str(round_).encode(), first=False)
            found = await other.get(subject.key("1"), max_bytes=LARGE)
            _require(found == str(round_).encode(), "a get elsewhere does not see what was put")
            _require(await _names(other, subject) == ["0", "1"], "a listing elsewhere does not see what was put")
            await store.delete(subject.key("1"))
            await store.delete(subject.key("1"))
            await _refused(other.get(subject.key("1"), max_bytes=LARGE), by=Absent, what="a get of what was deleted")
            _require(await _names(other, subject) == ["0"], "a listing shows what was deleted")


async def _any_name(subject: Subject) -> None:
    strange = Subject(open=subject.open, log=f"{subject.log} ü+&=%2F*[a]?")
    async with strange.opened() as store:
        await store.put_if_absent(strange.key("1"), b"x", first=True)
        await store.put_if_absent(strange.key("2"), b"y", first=False)
        _require(await store.get(strange.key("1"), max_bytes=LARGE) == b"x", "a name was taken for another")
        _require(await _names(store, strange, after=strange.key("1")) == ["2"], "a listing knows not every name")
        _require(list(await store.folders(f"{strange.log}/")) == [strange.key("")], "folders know not every name")


async def _folders(subject: Subject) -> None:
    async with subject.opened() as store:
        for run in ("b", "a"):
            for index, folder in enumerate(["log", "blob"]):
                await store.put_if_absent(f"{subject.log}/{run}/{folder}/1", b"x", first=index == 0)
        runs = list(await store.folders(f"{subject.log}/"))
        _require(runs == [f"{subject.log}/a/", f"{subject.log}/b/"], f"the folders of two logs are {runs}")
        inside = list(await store.folders(f"{subject.log}/a/"))
        _require(inside == [f"{subject.log}/a/blob/", f"{subject.log}/a/log/"], f"the folders of one log are {inside}")


async def _finished(subject: Subject) -> None:
    async with subject.opened() as store:
        await store.put_if_absent(subject.key("1"), b"x", first=True)
        await store.put_if_absent(subject.key("2"), b"y", first=False, last=True)
        put = store.put_if_absent(subject.key("2"), b"y", first=False, last=True)
        await _refused(put, by=Exists, what="a second final put")
        await store.put_if_absent(subject.key("3"), b"z", first=False)
        _require(
            await _names(store, subject) == ["1", "2", "3"], "a finished log cannot be read, or claimed for a purge"
        )


async def _cancelled(subject: Subject) -> None:
    body = os.urandom(1 << 20)
    async with subject.opened() as store:
        await store.put_if_absent(subject.key("0"), b"x", first=True)
        for turns in range(8):
            put = asyncio.create_task(store.put_if_absent(subject.key(f"1{turns}"), body, first=False))
            for _ in range(turns):
                await asyncio.sleep(0)
            put.cancel()
            await asyncio.gather(put, return_exceptions=True)
        for turns in range(8):
            try:
                found = await store.get(subject.key(f"1{turns}"), max_bytes=LARGE)
            except Absent:
                continue
            _require(found == body, "a put that was cancelled left part of its body")


CHECKS: Final[Mapping[str, Check]] = {
    "what was put is what is got": _round_trip,
    "a key that is taken is refused and keeps its body": _taken,
    "of many puts to one key exactly one wins": _one_wins,
    "nothing under a key is absent": _nothing_there,
    "an object beyond the reader's bound is not read": _bounded,
    "a listing is ordered, begins behind a key, and shows its folder alone": _listing,
    "a listing of more than a page is whole": _long_listing,
    "a large body streams in pieces, from any byte on": _streams,
    "a stream may be left before its end": _left_early,
    "a source that is not what it said is refused": _lying_source,
    "what is put or deleted shows at once, everywhere": _deleting,
    "a name may have any characters": _any_name,
    "the logs below a place can be found": _folders,
    "a finished log can still be read, and claimed": _finished,
    "a put that is cancelled is whole or absent": _cancelled,
}


async def verdicts(subject: Subject) -> AsyncIterator[tuple[str, Exception | None]]:
    """Run every check; each promise and what broke it."""
    for index, (promise, check) in enumerate(CHECKS.items()):
        try:
            await check(Subject(open=subject.open, log=f"{subject.log}/{index}"))
        except (Broken, StoreError) as error:
            yield promise, error
        else:
            yield promise, None


async def _main(address: str) -> int:
    from agenttask.store import open_store  # noqa: PLC0415 - imports this package
    from agenttask.store.address import location_of  # noqa: PLC0415

    location = location_of(address, environment=os.environ)
    prefix = f"{location.prefix}/conformance-{secrets.token_hex(4)}".lstrip("/")
    broken = 0
    async for promise, error in verdicts(Subject(open=lambda: open_store(location), log=prefix)):
        broken += error is not None
        sys.stdout.write(
            f"{'ok    ' if error is None else 'BROKEN'} {promise}{'' if error is None else f': {error}'}\n"
        )
        sys.stdout.flush()
    sys.stdout.write(f"{len(CHECKS) - broken} of {len(CHECKS)} promises kept; what was written lies below {prefix}/\n")
    return 1 if broken else 0


def main(arguments: Sequence[str]) -> int:
    """`python -m agenttask.store.conformance STORE-URL`."""
    parser = argparse.ArgumentParser(
        prog="python -m agenttask.store.conformance",
        description="Hold a store to every promise that the log builds on.",
    )
    parser.add_argument("store", metavar="STORE-URL", help="a place to write to: a folder, s3://…, redis://…")
    try:
        return asyncio.run(_main(parser.parse_args(arguments).store))
    except AgentTaskError as error:
        sys.stderr.write(f"{error}\n")
        return 78


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
