"""Real servers of the Redis protocol, each set up in another way: what a log may rely on there, and what is refused."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import redis
from agenttask.clock import SystemClock
from agenttask.errors import CheckpointLost, Denied, Exists, Full, Misconfigured, NotFound, Unavailable
from agenttask.log import Holder, Kind, Log, Opened, Patience, Recorded
from agenttask.store import redis as redis_store
from agenttask.store.conformance import CHECKS, Subject
from agenttask.store.redis import TTL_SECONDS, RedisStore, Server

from tests.api.store import servers
from tests.api.store.certificates import Authority
from tests.api.store.relay import relay
from tests.api.store.servers import RedisProcess
from tests.api.waiting import until
from tests.e2e.harness.wait import PATIENCE_SECONDS

PROGRAMS = {"valkey": servers.valkey_program(), **({"redis": servers.REDIS} if servers.REDIS else {})}
LARGE = 1 << 20


class Start(Protocol):
    """Starts a server with these options; it ends with its block."""

    def __call__(self, *options: str) -> AbstractContextManager[RedisProcess]: ...


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    """Each server program in turn."""
    return PROGRAMS[request.param]


@pytest.fixture
def start(program: str, tmp_path: Path) -> Start:
    """Servers of each program in turn."""
    return lambda *options: servers.redis(tmp_path / str(len(options)), program=program, options=options)


@pytest.fixture
def server(start: Start) -> Iterator[RedisProcess]:
    """A server as it should be."""
    with start() as process:
        yield process


class Open(Protocol):
    """Opens a store; it is closed with its block."""

    def __call__(
        self, server: Server, *, ttl_seconds: int = TTL_SECONDS
    ) -> AbstractAsyncContextManager[RedisStore]: ...


@pytest.fixture
def opened() -> Open:
    """Stores that are closed again."""

    @asynccontextmanager
    async def open_(server: Server, *, ttl_seconds: int = TTL_SECONDS) -> AsyncIterator[RedisStore]:
        store = RedisStore(server=server, ttl_seconds=ttl_seconds)
        try:
            yield store
        finally:
            await store.close()

    return open_


@asynccontextmanager
async def client(process: RedisProcess, *, password: str | None = None) -> AsyncIterator[Any]:
    """The server, asked beside the store."""
    with redis.Redis.from_url(process.url, password=password) as beside:
        yield beside


async def claim(
    store: RedisStore, *, attempt: int = 1, recorded: Recorded | None = None, seconds: float = PATIENCE_SECONDS
) -> Opened:
    """Open the log; `seconds`: how long the store may give no answer."""
    return await Log.open(
        store=store,
        prefix="ns/task/uid",
        task="ns/task",
        attempt=attempt,
        holder=Holder(pod_uid=f"pod-{attempt}", process="p"),
        recorded=recorded,
        clock=SystemClock(),
        patience=Patience(claim_seconds=seconds, append_seconds=seconds),
    )


async def commit(log: Log | None, *, kind: Kind = Kind.EVENTS) -> Recorded:
    assert log is not None
    ref = await log.append(kind=kind, events=[{"text": "t"}], step=1, max_steps=9)
    return Recorded(key=ref.key, seq=ref.seq)


async def test_tls_is_spoken_with_a_server_that_the_given_certificates_vouch_for(
    tmp_path: Path, server: RedisProcess, opened: Open
) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, name="Somebody else")
    async with relay(server.url, tls=authority.certify().context()) as tls:
        assert tls.endpoint.startswith("rediss://")
        async with opened(Server(url=tls.endpoint, ca=authority.certificate)) as store:
            await commit((await claim(store)).log)
            assert len(await store.list("ns/task/uid/log/", after=None)) == 2
        for ca in (None, other.certificate):
            async with opened(Server(url=tls.endpoint, ca=ca)) as store:
                with pytest.raises(Misconfigured, match=r"CERTIFICATE_VERIFY_FAILED.*caConfigMapRef"):
                    await store.list("b/log/", after=None)
        async with opened(Server(url=tls.endpoint.replace("rediss", "redis"))) as store:
            with pytest.raises(Unavailable):
                await store.list("b/log/", after=None)


async def test_a_certificate_for_another_host_is_refused(tmp_path: Path, server: RedisProcess, opened: Open) -> None:
    authority = Authority(tmp_path)
    elsewhere = authority.certify("elsewhere.test").context()
    async with (
        relay(server.url, tls=elsewhere) as tls,
        opened(Server(url=tls.endpoint, ca=authority.certificate)) as store,
    ):
        with pytest.raises(Misconfigured, match=r"127\.0\.0\.1"):
            await store.list("b/log/", after=None)


UNFIT: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "evicts any key": (["--maxmemory-policy", "allkeys-lru"], ["allkeys-lru", "noeviction"]),
    "evicts keys that would expire": (["--maxmemory-policy", "volatile-ttl"], ["volatile-ttl", "noeviction"]),
    "keeps no append-only file": (["--appendonly", "no"], ["appendonly to yes"]),
    "syncs its file only now and then": (["--appendfsync", "everysec"], ["appendfsync is everysec", "always"]),
    "hides when it syncs": (["--rename-command", "CONFIG", ""], ["appendfsync is not known", "durability.aof: false"]),
    "is part of a cluster": (["--cluster-enabled", "yes"], ["single primary"]),
    "is a replica": (["--replicaof", "127.0.0.1 1"], ["read-only replica"]),
}


@pytest.mark.parametrize("sentence", UNFIT)
async def test_a_log_is_refused_by_name_and_nothing_written_where_the_server(
    sentence: str, start: Start, opened: Open
) -> None:
    options, words = UNFIT[sentence]
    with start(*options) as process:
        async with opened(Server(url=process.url)) as store:
            with pytest.raises(Misconfigured) as refused:
                await store.put_if_absent("a/log/1", b"x", first=True)
            assert all(word in str(refused.value) for word in words)
        async with client(process) as beside:
            assert beside.dbsize() == 0


async def test_a_server_that_loses_work_in_a_restart_is_taken_by_who_accepts_that(start: Start, opened: Open) -> None:
    with start("--appendonly", "no", "--appendfsync", "everysec") as process:
        async with opened(Server(url=process.url, aof=False)) as store:
            await commit((await claim(store)).log)


async def test_the_seven_days_of_a_log_begin_with_its_final_record_and_none_before(
    server: RedisProcess, opened: Open
) -> None:
    async with opened(Server(url=server.url)) as store, client(server) as beside:
        log = (await claim(store)).log
        for _ in range(3):
            await commit(log)
            assert beside.ttl("ns/task/uid") == -1, "an unfinished task never expires"
        log = (await claim(store, attempt=2)).log
        assert beside.ttl("ns/task/uid") == -1
        await commit(log, kind=Kind.FINAL)
        assert TTL_SECONDS == 7 * 24 * 3600
        assert TTL_SECONDS - 60 <= beside.ttl("ns/task/uid") <= TTL_SECONDS
        assert (await claim(store, attempt=3)).final is not None
        assert beside.ttl("ns/task/uid") > 0, "reading a finished log does not keep it"


@pytest.mark.parametrize(("ttl_seconds", "want"), [(60, range(1, 61)), (0, range(-1, 0))], ids=["a minute", "for ever"])
async def test_how_long_a_finished_log_is_kept_can_be_set(
    server: RedisProcess, opened: Open, ttl_seconds: int, want: range
) -> None:
    async with opened(Server(url=server.url), ttl_seconds=ttl_seconds) as store, client(server) as beside:
        await commit((await claim(store)).log, kind=Kind.FINAL)
        assert beside.ttl("ns/task/uid") in want


def expire(beside: Any) -> None:
    """As time does it: the server's own clock runs out on the hash."""
    beside.pexpire("ns/task/uid", 1)
    until("the log expires", lambda: not beside.exists("ns/task/uid"))


def evict(beside: Any) -> None:
    """What an eviction leaves."""
    beside.unlink("ns/task/uid")


@pytest.mark.parametrize("end", [expire, evict])
async def test_an_append_to_a_log_that_expired_or_was_evicted_is_refused_and_nothing_made_anew(
    server: RedisProcess, opened: Open, end: Callable[[Any], None]
) -> None:
    async with opened(Server(url=server.url)) as store, client(server) as beside:
        log = (await claim(store)).log
        recorded = await commit(log)
        end(beside)
        with pytest.raises(NotFound, match="expired, or was evicted"):
            await commit(log)
        with pytest.raises(CheckpointLost):
            await claim(store, attempt=2, recorded=recorded)
        assert beside.dbsize() == 0


def calls(beside: Any, command: str) -> int:
    """How often the server was asked this."""
    return int(beside.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


async def test_every_write_and_every_refused_one_waits_for_the_append_only_file(tmp_path: Path, opened: Open) -> None:
    with servers.redis(tmp_path / "x", program=PROGRAMS["valkey"]) as process:
        async with opened(Server(url=process.url)) as store, client(process) as beside:
            await store.put_if_absent("a/log/1", b"x", first=True)
            with pytest.raises(Exists):
                await store.put_if_absent("a/log/1", b"x", first=False)
            await store.put_if_absent("a/log/2", b"x", first=False, last=True)
            assert calls(beside, "waitaof") == 3
            assert calls(beside, "wait") == 0


async def test_what_was_acknowledged_outlives_a_server_killed_at_once(
    program: str, tmp_path: Path, opened: Open
) -> None:
    with servers.redis(tmp_path / "x", program=program) as process:
        async with opened(Server(url=process.url)) as store:
            await store.put_if_absent("a/log/1", b"x", first=True)
            await store.put_if_absent("a/log/2", b"y", first=False)
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(Unavailable):
                await store.get("a/log/1", max_bytes=LARGE)
    with servers.redis(tmp_path / "x", program=program) as process:
        async with opened(Server(url=process.url)) as store:
            assert await store.get("a/log/2", max_bytes=LARGE) == b"y"
            with pytest.raises(Exists):
                await store.put_if_absent("a/log/2", b"z", first=False)


async def persist(store: RedisStore, key: str, body: bytes) -> None:
    """Put as the log does, again as long as there is no answer: a replica reports its file once a second."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await store.put_if_absent(key, body, first=False)
            except Unavailable:
                continue
            except Exists:
                return
            else:
                return


@pytest.mark.parametrize("aof", [True, False], ids=["in their files", "in their memory"])
async def test_a_write_counts_once_so_many_replicas_have_it(
    tmp_path: Path, program: str, opened: Open, monkeypatch: pytest.MonkeyPatch, aof: bool
) -> None:
    monkeypatch.setattr(redis_store, "WAIT_MILLISECONDS", 200)
    with servers.redis(tmp_path / "1", program=program, options=["--repl-diskless-sync-delay", "0"]) as primary:
        async with opened(Server(url=primary.url, aof=aof, replicas=1)) as store:
            with pytest.raises(Unavailable, match="0 of 1 replicas had the write"):
                await store.put_if_absent("a/log/1", b"x", first=True)
            options = ("--replicaof", f"127.0.0.1 {primary.port}")
            with servers.redis(tmp_path / "replica", program=program, options=options) as replica:
                await persist(store, "a/log/1", b"x")  # stands already, and counts once the replica has it too
                await persist(store, "a/log/2", b"y")
                async with client(replica) as beside:
                    assert beside.hget("a", "log/2") == b"\0y"
                os.kill(replica.pid, signal.SIGSTOP)
                with pytest.raises(Unavailable, match="0 of 1 replicas had the write"):
                    await store.put_if_absent("a/log/3", b"z", first=False)
                # Refused, and therefore read: so it has to count, also for who has written nothing on this connection.
                async with opened(Server(url=primary.url, aof=aof, replicas=1)) as another:
                    with pytest.raises(Unavailable, match="0 of 1 replicas had the write"):
                        await another.put_if_absent("a/log/3", b"z", first=False)
                os.kill(replica.pid, signal.SIGCONT)


@pytest.mark.parametrize("replicas", [0, 1])
async def test_what_a_failover_loses_is_found_out_and_where_a_replica_is_waited_for_it_loses_nothing(
    tmp_path: Path, program: str, opened: Open, monkeypatch: pytest.MonkeyPatch, replicas: int
) -> None:
    monkeypatch.setattr(redis_store, "WAIT_MILLISECONDS", 500)
    with servers.redis(tmp_path / "1", program=program, options=["--repl-diskless-sync-delay", "0"]) as primary:
        options = ("--replicaof", f"127.0.0.1 {primary.port}")
        with servers.redis(tmp_path / "replica", program=program, options=options) as replica:
            async with client(primary) as beside:
                until("it is in step", lambda: beside.info("replication").get("slave0", {}).get("state") == "online")
            async with opened(Server(url=primary.url, aof=False, replicas=replicas)) as store:
                log = (await claim(store)).log
                recorded = await commit(log)
                async with client(replica) as beside:
                    until("it has that too", lambda: beside.hlen("ns/task/uid") >= 2)
                    beside.replicaof("NO", "ONE")  # a failover, while the old primary can still be reached
                if replicas:
                    with pytest.raises(Unavailable, match="0 of 1 replicas"):
                        await store.put_if_absent("ns/task/uid/log/000000000003", b"x", first=False)
                else:
                    recorded = await commit(log)
            os.kill(primary.pid, signal.SIGKILL)
            async with opened(Server(url=replica.url)) as store:
                if replicas:
                    assert (await claim(store, attempt=2, recorded=recorded)).resumed_from is not None
                else:
                    with pytest.raises(CheckpointLost):
                        await claim(store, attempt=2, recorded=recorded)


COMMANDS = ("eval", "exists", "hsetnx", "hset", "hget", "hdel", "hkeys", "hstrlen", "expire", "scan", "info", "wait")
"""The commands that docs/stores.md says a user needs; beside CONFIG GET, and WAITAOF where there is one."""

ALL_COMMANDS = (
    "a key that is taken is refused and keeps its body",
    "a large body streams in pieces, from any byte on",
    "a source that is not what it said is refused",
    "the logs below a place can be found",
    "a finished log can still be read, and claimed",
)
"""Promises that take every command to keep."""


async def test_a_user_needs_a_password_and_few_commands_on_the_keys_below_the_prefix(
    program: str, tmp_path: Path, opened: Open
) -> None:
    with servers.redis(tmp_path / "x", program=program, options=["--requirepass", "top"]) as process:
        for username, password in ((None, None), (None, "wrong"), ("nobody", "top")):
            async with opened(Server(url=process.url, username=username, password=password)) as store:
                with pytest.raises(Denied, match="REDIS_PASSWORD"):
                    await store.put_if_absent("prod/a/log/1", b"x", first=True)
        async with client(process, password="top") as beside:
            newer = () if str(beside.info()["redis_version"]).startswith("7.0.") else ("waitaof",)
            commands = [f"+{command}" for command in (*COMMANDS, "config|get", *newer)]
            beside.acl_setuser("agents", enabled=True, passwords=["+secret"], keys=["prod/*"], commands=commands)

        def open_() -> RedisStore:
            return RedisStore(server=Server(url=process.url, username="agents", password="secret"))

        for number, promise in enumerate(ALL_COMMANDS):
            await CHECKS[promise](Subject(open=open_, log=f"prod/{number}"))
        async with opened(Server(url=process.url, username="agents", password="secret")) as store:
            for call in (
                store.put_if_absent("other/a/log/1", b"x", first=True),
                store.get("other/a/log/1", max_bytes=LARGE),
                store.list("other/a/log/", after=None),
            ):
                with pytest.raises(Denied, match="below the prefix"):
                    await call


async def test_a_server_without_memory_is_full_and_goes_on_when_there_is_some(
    server: RedisProcess, opened: Open
) -> None:
    async with opened(Server(url=server.url)) as store, client(server) as beside:
        await commit((await claim(store)).log)
        beside.config_set("maxmemory", "1mb")
        with pytest.raises(Full, match=r"used memory > 'maxmemory'.*raise maxmemory"):
            await claim(store, attempt=2, seconds=0)
        beside.config_set("maxmemory", "0")
        await commit((await claim(store, attempt=3)).log)


async def test_a_key_that_something_else_uses_is_misconfigured(server: RedisProcess, opened: Open) -> None:
    async with opened(Server(url=server.url)) as store, client(server) as beside:
        beside.set("ns/task/uid", "of another kind")
        with pytest.raises(Misconfigured, match="choose another prefix"):
            await claim(store)


@pytest.mark.parametrize("url", ["http://host", "redis://host:port/0", "host:6379"])
def test_a_url_that_is_none_says_how_one_looks(url: str) -> None:
    with pytest.raises(Misconfigured, match="rediss://host:6379/0"):
        RedisStore(server=Server(url=url))
