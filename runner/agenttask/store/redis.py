"""A store on a Redis server with one primary: one hash per log, whose fields are the objects.

A put is one script, so "absent", "the log is still there" and "expire it" are decided at one moment. What the write
then waits for (append-only file, replicas) is asked on the same connection, since that is what Redis counts by.

    hash   <log>                      all of one log: it expires, or is evicted, as a whole or not at all
    field  <folder>/<name>            \\0 and the body; or, of a large one, \\1 and <token>:<size>:<number of parts>
    field  .parts/<token>/<number>    a part of a large body, written before the field that names it
    field  .written                   touched by refused puts, so that their connection has something to wait for
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from agenttask.errors import Absent, Exists, Misconfigured, NotFound, StoreError, TooLarge, Unavailable
from agenttask.store.base import Entry, Source
from agenttask.store.redis_errors import translated
from agenttask.store.redis_server import Facts, refuse_unfit
from agenttask.store.source import pieces
from agenttask.store.tls import checked

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 30
WAIT_MILLISECONDS: Final = 5000
"""How long one try waits for file and replicas."""
CALLS_AT_ONCE: Final = 16
PART_BYTES: Final = 4 << 20
TTL_SECONDS: Final = 7 * 86400

T = TypeVar("T")

_PUT: Final = """
if ARGV[3] == '0' and redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then
  redis.call('HSET', KEYS[1], '.written', '')
  return 'exists'
end
if ARGV[4] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 'done'
"""
_DELETE: Final = """
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return end
if string.byte(value) == 1 then
  local token, parts = string.match(value, '^.(%x+):%d+:(%d+)$')
  for number = 0, parts - 1 do redis.call('HDEL', KEYS[1], '.parts/' .. token .. '/' .. number) end
end
redis.call('HDEL', KEYS[1], ARGV[1])
"""
# Only a value short enough to name parts is looked into.
_LIST: Final = """
local found = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local rest = string.sub(field, #ARGV[1] + 1)
  if string.sub(field, 1, #ARGV[1]) == ARGV[1] and not string.find(rest, '/', 1, true)
    and KEYS[1] .. '/' .. field > ARGV[2] then
    local size = redis.call('HSTRLEN', KEYS[1], field) - 1
    if size < 64 then
      local value = redis.call('HGET', KEYS[1], field)
      if string.byte(value) == 1 then size = tonumber(string.match(value, ':(%d+):')) end
    end
    found[#found + 1] = field
    found[#found + 1] = size
  end
end
return found
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a Redis server is, how to log in, and what a write waits for."""

    url: str
    """`redis://host:6379/0`, or `rediss://…` for TLS."""
    username: str | None = None
    password: str | None = None
    ca: str | None = None
    """The certificates that vouch for the server, PEM, instead of the machine's."""
    aof: bool = True
    """That primary and `replicas` have the write in their append-only file, on disk."""
    replicas: int = 0
    """How many replicas have to have it."""


class _Place(NamedTuple):
    """Where an object lies."""

    log: str
    field: str


class RedisStore:
    """Objects in hashes. `ttl_seconds` is how long a log is kept after its last object; 0 is for ever."""

    def __init__(self, *, server: Server, ttl_seconds: int = TTL_SECONDS) -> None:
        self._server = server
        self._ttl_seconds = ttl_seconds
        self._client = _client(server)
        self._looked = asyncio.Lock()
        self._facts: Facts | None = None

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        value = await self._value(key)
        size = len(value) - 1 if value[0] == 0 else _Parts.of(value).size
        if size > max_bytes:
            raise TooLarge(f"{key} has {size} bytes, more than {max_bytes}")
        if value[0] == 0:
            return value[1:]
        return b"".join([piece async for piece in self._parts(key, _Parts.of(value), offset=0)])

    async def stream(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        value = await self._value(key)
        if value[0] == 0:
            if piece := value[1 + offset :]:
                yield piece
            return
        async for piece in self._parts(key, _Parts.of(value), offset=offset):
            yield piece

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        await self._put(key, b"\0" + body, first=first, ttl_seconds=self._ttl_seconds if last else 0)

    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        place, token, written = _place(key), secrets.token_hex(8), 0
        await self._ask(self._look)
        try:
            part = bytearray()
            async for piece in pieces(source):
                part += piece
                while len(part) >= PART_BYTES:
                    await self._put_part(place, token, written, bytes(part[:PART_BYTES]), first=first)
                    written += 1
                    del part[:PART_BYTES]
            if not written:
                await self._put(key, b"\0" + part, first=first, ttl_seconds=0)
                return
            await self._put_part(place, token, written, bytes(part), first=first)
            written += 1
            await self._put(key, _Parts(token, source.size, written).encoded(), first=first, ttl_seconds=0)
        except Unavailable:
            raise  # the field that names them may stand
        except (StoreError, ValueError):
            with suppress(RedisError, OSError):
                for number in range(written):
                    await self._client.hdel(place.log, _part(token, number))
            raise

    async def delete(self, key: str) -> None:
        place = _place(key)
        await self._ask(lambda: self._client.eval(_DELETE, 1, place.log, place.field))

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        log, folder = _place(prefix + "x").log, prefix.rstrip("/").rpartition("/")[2]
        found = await self._ask(lambda: self._client.eval(_LIST, 1, log, f"{folder}/", after or ""))
        names = (name.decode() for name in found[::2])
        return sorted(Entry(key=f"{log}/{name}", size=size) for name, size in zip(names, found[1::2], strict=True))

    async def folders(self, prefix: str) -> Sequence[str]:
        log = prefix.rstrip("/")
        return await self._ask(lambda: self._folders(prefix, log))

    async def close(self) -> None:
        with suppress(RedisError, OSError):
            await self._client.aclose()
            await self._client.connection_pool.disconnect()

    async def _folders(self, prefix: str, log: str) -> Sequence[str]:
        pattern = "".join(f"[{one}]" if one in "*?[]^-\\" else one for one in prefix) + "*"
        found = set()
        async for name in self._client.scan_iter(match=pattern, count=1000, _type="hash"):
            found.add(name.decode()[len(prefix) :].partition("/")[0])
        if log:
            fields = [cast(bytes, field).decode() for field in await self._client.hkeys(log)]
            found |= {field.partition("/")[0] for field in fields if not field.startswith(".")}
        return sorted(f"{prefix}{name}/" for name in found)

    async def _value(self, key: str) -> bytes:
        place = _place(key)
        value = await self._field(place.log, place.field)
        if not value:
            raise Absent(key)
        return value

    async def _field(self, log: str, field: str) -> bytes | None:
        return cast("bytes | None", await self._ask(lambda: self._client.hget(log, field)))

    async def _parts(self, key: str, parts: _Parts, *, offset: int) -> AsyncGenerator[bytes, None]:
        log = _place(key).log
        for number in range(offset // PART_BYTES, parts.number):
            part = await self._field(log, _part(parts.token, number))
            if part is None:
                raise Absent(f"{key}: part {number} is gone")
            yield part[offset - number * PART_BYTES :] if offset > number * PART_BYTES else part

    async def _put_part(self, place: _Place, token: str, number: int, body: bytes, *, first: bool) -> None:
        """Unconfirmed: the field that names the parts is written, and waited for, behind them."""
        arguments = (place.log, _part(token, number), body, int(first), 0)
        if await self._ask(lambda: self._client.eval(_PUT, 1, *arguments)) == b"gone":
            raise _gone(place)

    async def _put(self, key: str, value: bytes, *, first: bool, ttl_seconds: int) -> None:
        place = _place(key)
        outcome = await self._ask(lambda: self._write(place, value, first=first, ttl_seconds=ttl_seconds))
        if outcome == b"gone":
            raise _gone(place)
        if outcome == b"exists":
            raise Exists(key)

    async def _write(self, place: _Place, value: bytes, *, first: bool, ttl_seconds: int) -> bytes:
        """Run the script, then wait for file and replicas, in one round trip."""
        facts = await self._look()
        pipeline = self._client.pipeline(transaction=False)
        pipeline.eval(_PUT, 1, place.log, place.field, value, int(first), ttl_seconds)
        waits = facts.waits(aof=self._server.aof, replicas=self._server.replicas)
        if waits:
            pipeline.execute_command(*waits, WAIT_MILLISECONDS)
        # Raised here, and not there: the client would quote the script in the message.
        answers = await pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        if answers[0] != b"gone" and waits:
            _confirmed(answers[1], aof=waits[0] == "WAITAOF", replicas=self._server.replicas)
        outcome: bytes = answers[0]
        return outcome

    async def _look(self) -> Facts:
        """What kind of server this is, asked once. Raises `Misconfigured` if it is not fit for a log."""
        async with self._looked:
            if self._facts is None:
                facts = Facts.of(await self._client.info())
                if self._server.aof and facts.aof:
                    facts = facts.syncing(await self._syncs())
                refuse_unfit(facts, aof=self._server.aof)
                self._facts = facts
            return self._facts

    async def _syncs(self) -> str:
        try:
            return str((await self._client.config_get("appendfsync")).get("appendfsync", ""))
        except ResponseError as error:
            if "unknown command" in str(error):  # a server somebody else runs hides its configuration
                return ""
            raise

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except (RedisError, OSError) as error:
            raise translated(error) from error


class _Parts(NamedTuple):
    """What the field of a large body says of its parts."""

    token: str
    size: int
    number: int

    @classmethod
    def of(cls, value: bytes) -> _Parts:
        token, size, number = value[1:].decode().split(":")
        return cls(token, int(size), int(number))

    def encoded(self) -> bytes:
        return b"\1" + f"{self.token}:{self.size}:{self.number}".encode()


def _part(token: str, number: int) -> str:
    return f".parts/{token}/{number}"


def _place(key: str) -> _Place:
    log, *rest = key.rsplit("/", 2)
    if len(rest) != 2:
        raise ValueError(f"{key!r} is not <log>/<folder>/<name>")
    return _Place(log, "/".join(rest))


def _gone(place: _Place) -> NotFound:
    return NotFound(f"the log {place.log} is gone: it has expired, or was evicted or removed; start the task anew")


def _confirmed(answer: Any, *, aof: bool, replicas: int) -> None:
    """`Unavailable` unless all that was waited for has happened; the same put again waits again."""
    local, others = answer if aof else (1, answer)
    if local < 1:
        raise Unavailable(f"the server did not write its append-only file within {WAIT_MILLISECONDS} ms")
    if others < replicas:
        raise Unavailable(f"{others} of {replicas} replicas had the write within {WAIT_MILLISECONDS} ms")


def _client(server: Server) -> Redis:
    # Whether to try again is the caller's business, who has to know of every put that may have landed.
    options: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "retry_on_timeout": False}
    for name, value in (("username", server.username), ("password", server.password)):
        if value:
            options[name] = value
    if server.ca is not None and server.url.startswith("rediss://"):
        options["ssl_ca_data"] = checked(server.ca)
    try:
        pool = BlockingConnectionPool.from_url(
            server.url,
            max_connections=CALLS_AT_ONCE,
            timeout=None,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=READ_SECONDS,
            **options,
        )
    except ValueError as error:
        raise Misconfigured(f"the Redis URL cannot be read ({error}): it looks like rediss://host:6379/0") from error
    return Redis.from_pool(pool)
