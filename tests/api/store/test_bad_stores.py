"""Every way in which a store can be no good, on real servers and volumes: the reason, and the advice, a task shows.

The servers that no real one can be brought to be (one that ignores conditions, one that refuses them, one whose disk is
full) are a real one behind a proxy of ours that makes it so.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pytest
from agenttask.contract import Exit, Location, RunnerReason
from agenttask.errors import Misconfigured
from agenttask.store.address import location_of

from tests.api.store import servers
from tests.api.store.canned import Answer
from tests.api.store.conftest import Server, sign_in
from tests.api.store.proxy import Misfortune, Proxy
from tests.api.store.trying import Refusal, refusal_of
from tests.e2e.harness.wait import PATIENCE_SECONDS

VALKEY: Final = servers.valkey_program()


class Site:
    """Where a case is set up; all it starts ends with the test."""

    def __init__(self, *, folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = monkeypatch
        self.stack = AsyncExitStack()
        self._request = request

    def s3(self, name: str = "versitygw", **changes: str | None) -> Location:
        """A place on the session's S3 server of that name, but for `changes`."""
        server: Server = self._request.getfixturevalue(name)
        return server.location(**{"prefix": secrets.token_hex(8), **changes})

    def own_s3(self, *options: str) -> Location:
        """A place on an S3 server of this test's own."""
        process = self.stack.enter_context(servers.versitygw(self.folder / "s3", options=options))
        sign_in(process, self.patch)
        return Location(type="s3", bucket=servers.BUCKET, endpoint=process.endpoint, region=servers.REGION)

    def redis(self, *options: str) -> Location:
        """A place on a Redis server of this test's own."""
        process = self.stack.enter_context(servers.redis(self.folder / "redis", program=VALKEY, options=options))
        return Location(type="redis", endpoint=process.url)

    def volume(self) -> Location:
        """A place in a folder."""
        (self.folder / "volume").mkdir()
        return Location(type="filesystem", path=str(self.folder / "volume"))

    async def spoilt(self, location: Location, spoil: Callable[[bytes], bytes]) -> Location:
        """The same place behind a proxy that changes each request; one that begins with HTTP/ is the answer."""
        assert location.endpoint is not None
        proxy = await self.stack.enter_async_context(_Spoiling(location.endpoint, spoil).listening())
        return msgspec.structs.replace(location, endpoint=proxy.endpoint)


class _Spoiling(Proxy):
    def __init__(self, target: str, spoil: Callable[[bytes], bytes]) -> None:
        super().__init__(target, plan=lambda _: Misfortune.NONE)
        self._spoil = spoil

    async def _exchange(
        self, request: bytes, from_server: asyncio.StreamReader, to_server: asyncio.StreamWriter
    ) -> bytes:
        spoilt = self._spoil(request)
        if spoilt.startswith(b"HTTP/"):
            return spoilt
        return await super()._exchange(spoilt, from_server, to_server)


def _answer(status: int, code: str) -> Callable[[bytes], bytes]:
    answer = Answer.error(status, code).whole()
    return lambda request: answer if request.startswith(b"PUT ") else request


def _unconditional(request: bytes) -> bytes:
    return re.sub(rb"(?i)\r\nif-none-match: [^\r\n]*", b"", request)


Try = Callable[[Site], Awaitable[Refusal | None]]


def at(place: Callable[[Site], Location]) -> Try:
    """Try it in this process."""

    async def attempt(site: Site) -> Refusal | None:
        return await refusal_of(place(site))

    return attempt


def behind(spoil: Callable[[bytes], bytes]) -> Try:
    """Try an S3 server that takes any signature, through a proxy."""

    async def attempt(site: Site) -> Refusal | None:
        return await refusal_of(await site.spoilt(site.s3("moto"), spoil))

    return attempt


def mounted(options: str) -> Try:
    """Try a folder on which a tmpfs with these options is mounted, for a process of its own alone."""

    async def attempt(site: Site) -> Refusal | None:
        place = site.volume()
        script = f'mount -t tmpfs -o {options} tmpfs "$1" && shift && exec "$@"'
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        return _elsewhere(place, "unshare", "--mount", *user, "sh", "-c", script, "sh", str(place.path))

    return attempt


async def without_a_right(site: Site) -> Refusal | None:
    place = site.volume()
    (site.folder / "volume").chmod(0o500)
    # Root may write there all the same, unless it gives that up.
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    return _elsewhere(place, *drop)


def _elsewhere(place: Location, *before: str) -> Refusal | None:
    command = [*before, sys.executable, "-m", "tests.api.store.trying", msgspec.json.encode(place).decode()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return None if said is None else Refusal(**said)


async def unknown_scheme(site: Site) -> Refusal | None:
    """What the tools and a local run do with an address, before they open anything."""
    try:
        return await refusal_of(location_of("gs://agents/prod", environment={}))
    except Misconfigured as error:
        return Refusal(reason=RunnerReason.STORE_MISCONFIGURED, exit=Exit.STALLED, message=str(error))


def wrong_secret(site: Site) -> Location:
    place = site.s3()
    site.patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    return place


def no_keys(site: Site) -> Location:
    place = site.s3()
    site.patch.delenv("AWS_ACCESS_KEY_ID")
    site.patch.delenv("AWS_SECRET_ACCESS_KEY")
    return place


def somebody_elses_bucket(site: Site) -> Location:
    (site.folder / "iam").mkdir()
    account = {"access": "guest", "secret": "guests-secret", "role": "user", "userID": 0, "groupID": 0, "projectID": 0}
    (site.folder / "iam" / "users.json").write_text(json.dumps({"accessAccounts": {"guest": account}}))
    place = site.own_s3("--iam-dir", str(site.folder / "iam"))
    site.patch.setenv("AWS_ACCESS_KEY_ID", "guest")
    site.patch.setenv("AWS_SECRET_ACCESS_KEY", "guests-secret")
    return place


def without_links(site: Site) -> Location:
    """As FAT answers; mounting one takes a device."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    site.patch.setattr(os, "link", refuse)
    return site.volume()


def a_file(site: Site) -> Location:
    (site.folder / "file").write_bytes(b"")
    return Location(type="filesystem", path=str(site.folder / "file"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is wrong, and what has to be said of it: `advice` says what to do."""

    attempt: Try
    reason: RunnerReason
    said: str
    advice: str


MISCONFIGURED: Final = RunnerReason.STORE_MISCONFIGURED
DENIED: Final = RunnerReason.STORE_DENIED
FULL: Final = RunnerReason.STORE_FULL

CASES: Final = {
    "an unknown URL scheme": Case(
        attempt=unknown_scheme, reason=MISCONFIGURED, said="gs://agents/prod is no store", advice="give s3://bucket"
    ),
    "a bucket that is missing": Case(
        attempt=at(lambda site: site.s3(bucket="no-such-bucket")),
        reason=RunnerReason.STORE_NOT_FOUND,
        said="bucket no-such-bucket does not exist",
        advice="create the bucket no-such-bucket, or correct its name or the endpoint",
    ),
    "access denied to a wrong secret": Case(
        attempt=at(wrong_secret), reason=DENIED, said="SignatureDoesNotMatch", advice="check the keys"
    ),
    "access denied without keys": Case(
        attempt=at(no_keys), reason=DENIED, said="Unable to locate credentials", advice="check the keys"
    ),
    "access denied to who may not use the bucket": Case(
        attempt=at(somebody_elses_bucket),
        reason=DENIED,
        said="403 AccessDenied",
        advice="that they may list the bucket bucket and get, put and delete objects in it",
    ),
    "access denied to who gives Redis no password": Case(
        attempt=at(lambda site: site.redis("--requirepass", "secret")),
        reason=DENIED,
        said="authenticate",
        advice="REDIS_PASSWORD",
    ),
    "access denied to a folder": Case(
        attempt=without_a_right,
        reason=DENIED,
        said="Permission denied",
        advice="give this user the right to read and write there",
    ),
    "a read-only store: an S3 server": Case(
        attempt=at(lambda site: site.own_s3("--readonly")),
        reason=DENIED,
        said="PutObject was answered 403 AccessDenied",
        advice="check the keys, and that they may list the bucket bucket and get, put and delete objects in it",
    ),
    "a read-only store: a Redis replica": Case(
        attempt=at(lambda site: site.redis("--replicaof", "127.0.0.1 1")),
        reason=MISCONFIGURED,
        said="read-only replica",
        advice="give the address of its primary",
    ),
    "a read-only store: a volume": Case(
        attempt=mounted("ro"), reason=DENIED, said="Read-only file system", advice="mount it writable"
    ),
    "a store without put-if-absent: one that overwrites": Case(
        attempt=behind(_unconditional),
        reason=MISCONFIGURED,
        said="the store does not honour put-if-absent (If-None-Match: *): it took ",
        advice="ns/task/uid/log/000000000001 twice; use another",
    ),
    "a store without put-if-absent: one that says so": Case(
        attempt=behind(_answer(501, "NotImplemented")),
        reason=MISCONFIGURED,
        said="the server has no conditional writes (If-None-Match)",
        advice="use another",
    ),
    "a store without put-if-absent: a volume without hard links": Case(
        attempt=at(without_links),
        reason=MISCONFIGURED,
        said="has no hard links (Operation not permitted), which put-if-absent needs",
        advice="use one with a POSIX file system (ext4, xfs, NFS)",
    ),
    "a store that may lose what it holds: a Redis server that evicts": Case(
        attempt=at(lambda site: site.redis("--maxmemory-policy", "allkeys-lfu")),
        reason=MISCONFIGURED,
        said="maxmemory-policy is allkeys-lfu",
        advice="set it to noeviction",
    ),
    "a full disk: a volume": Case(
        attempt=mounted("size=4k"), reason=FULL, said="No space left on device", advice="the volume is full; enlarge it"
    ),
    "a full disk: an S3 server": Case(
        attempt=behind(_answer(507, "XMinioStorageFull")),
        reason=FULL,
        said="507 XMinioStorageFull",
        advice="make room in the store, or raise its quota",
    ),
    "a full disk: a Redis server's memory": Case(
        attempt=at(lambda site: site.redis("--maxmemory", "900kb")),
        reason=FULL,
        said="used memory > 'maxmemory'",
        advice="raise maxmemory",
    ),
    "a file where a folder should be": Case(
        attempt=at(a_file),
        reason=MISCONFIGURED,
        said="Not a directory",
        advice="a file stands where a folder has to be",
    ),
}


@pytest.fixture
async def site(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A place to set a case up."""
    made = Site(folder=tmp_path, request=request, monkeypatch=monkeypatch)
    async with made.stack:
        yield made


@pytest.mark.parametrize("sentence", CASES)
async def test_bad_input_is_a_named_error_that_says_what_to_do(sentence: str, site: Site) -> None:
    case = CASES[sentence]
    refusal = await case.attempt(site)
    assert refusal is not None, "nobody noticed"
    assert refusal.reason == case.reason
    assert refusal.exit == (Exit.UNAVAILABLE if case.reason == FULL else Exit.STALLED)
    assert case.said in refusal.message
    assert case.advice in refusal.message


async def test_the_same_places_take_a_log_when_nothing_is_wrong(site: Site) -> None:
    assert [
        await at(lambda site: site.s3())(site),
        await behind(lambda request: request)(site),
        await at(lambda site: site.redis())(site),
        await mounted("size=4m")(site),
    ] == [None] * 4
