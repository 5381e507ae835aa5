"""A proxy between one operator and the API server, which does to each request what a plan says.

It speaks HTTP to the operator and HTTPS to the server, passes the operator's own token on, and streams watches through
line by line (what may become of a line: `streams`). Writes are numbered from 1 in the order in which they come; what
happens to a request is its `Fate`:

    PASS      forwarded and answered
    BEFORE    never forwarded: the operator died before its write
    LOST      forwarded, the answer withheld: it died after its write, without knowing
    AFTER     forwarded and answered, and then it died
    RESET     never forwarded, and the operator lives: a connection broke
    BUSY      answered 429, to come back at once
    DOWN      answered 503
    BROKEN    answered 500 by something that is no API server
    GONE      answered 410: too old a version was asked for
    STALE     a read answered with what was true before this operator's last write
    HELD      kept until `release`: the operator sleeps while the world goes on
    LATE      forwarded, and the answer kept until `release`

After a death nothing of that operator passes until `revive`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
from agenttask import contract
from agenttask_operator.cluster import PAGE
from aiohttp import web

from tests.e2e.harness.wait import PATIENCE_SECONDS

RESYNC: Final = "list every task"
KEPT: Final = "keep"
_PASSED_ON: Final = ("Authorization", "Content-Type", "Accept")
_ANSWERS: Final = {
    "BUSY": (
        429,
        {"Retry-After": "0"},
        '{"kind": "Status", "message": "too many requests", "reason": "TooManyRequests"}',
    ),
    "DOWN": (503, {}, "upstream connect error"),
    "BROKEN": (500, {}, "<html>it broke</html>"),
    "GONE": (410, {}, '{"kind": "Status", "message": "too old resource version", "reason": "Expired", "code": 410}'),
}


class Fate(StrEnum):
    """What becomes of a request."""

    PASS = "PASS"
    BEFORE = "BEFORE"
    LOST = "LOST"
    AFTER = "AFTER"
    RESET = "RESET"
    BUSY = "BUSY"
    DOWN = "DOWN"
    BROKEN = "BROKEN"
    GONE = "GONE"
    STALE = "STALE"
    HELD = "HELD"
    LATE = "LATE"


DEADLY: Final = frozenset({Fate.BEFORE, Fate.LOST, Fate.AFTER})


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request of the operator."""

    number: int
    """Of all its requests, from 1; kept over deaths."""
    write: int | None
    """Of its writes, from 1; None for a read."""
    name: str
    """In words, as `create pod`."""
    task: str
    """Name of the task it is about; empty for a list or a watch."""


class StreamCut(Exception):  # noqa: N818 - what a `Lines` raises to end the stream
    """The stream of a watch ends here.

    Args:
        rest: what is written before.
        broken: whether the connection breaks, else the answer ends as if it were whole.
    """

    def __init__(self, rest: bytes, *, broken: bool) -> None:
        super().__init__(rest)
        self.rest = rest
        self.broken = broken


Judge = Callable[[Call], Fate]
Lines = Callable[[str, bytes], "list[bytes]"]
"""What becomes of a line of a watch of that kind, `pod` or `agenttask`: the lines told instead."""


def passing(_: Call) -> Fate:
    """Nothing happens to any request."""
    return Fate.PASS


def straight(_: str, line: bytes) -> list[bytes]:
    """A watch event as it came."""
    return [line]


@dataclass(kw_only=True)
class Proxy:
    """One operator's way to the server."""

    target: str
    context: ssl.SSLContext
    judge: Judge = passing
    lines: Lines = straight
    past: int = 1
    """Before which write a `STALE` read goes back, counted from the last one."""
    writes: list[str] = field(default_factory=list)
    """Every write that came, in words."""
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    deaths: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    """How often each call came, in words, and how often all tasks were listed and something was kept."""
    most_writes: int = 0
    """Of one task."""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _written: Counter[str] = field(default_factory=Counter)
    _requests: int = 0
    _release: asyncio.Event = field(default_factory=asyncio.Event)
    _versions: list[int] = field(default_factory=list)
    """What its writes made of their objects."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.context, limit=0), auto_decompress=False
        )
        app = web.Application(client_max_size=8 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
        # This way round: a stream that is cancelled takes leave of its server by TLS, and may outlive the loop.
        await self._session.close()
        await self._runner.cleanup()

    @property
    def address(self) -> str:
        """Where the operator finds its API server."""
        return f"http://127.0.0.1:{self.port}"

    def revive(self) -> None:
        """A new process of this operator has started."""
        self.killed = asyncio.Event()

    def release(self) -> None:
        """What is held goes on."""
        self._release.set()

    async def more(self, name: str, *, number: int = 1) -> None:
        """Wait for so many of these calls from now on."""
        enough = self.calls[name] + number
        async with self._news:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._news.wait_for(lambda: self.calls[name] >= enough)
            except TimeoutError:
                raise AssertionError(f"{name} came {self.calls[name]} times, and not {enough}") from None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.killed.is_set():
            return _hang_up(request)
        call = await self._called(request)
        fate = self.judge(call)
        if fate in _ANSWERS:
            status, headers, text = _ANSWERS[fate]
            return web.Response(status=status, headers=headers, text=text, content_type="application/json")
        if fate in {Fate.BEFORE, Fate.RESET}:
            if fate is Fate.BEFORE:
                self._die()
            return _hang_up(request)
        if fate is Fate.HELD:
            await self._keep()
        if "watch" in request.query:
            return await self._stream(request)
        return await self._exchange(request, call=call, fate=fate)

    async def _exchange(self, request: web.Request, *, call: Call, fate: Fate) -> web.StreamResponse:
        path, single = request.raw_path, False
        if fate is Fate.STALE and self._versions and call.write is None:
            path, single = _as_of(request, version=self._versions[-self.past :][0] - 1)
        body = _unscheduled(await request.read(), request)
        async with self._forward(request, path=path, body=body) as answer:
            content = await answer.read()
        status = answer.status
        if call.name == "read agenttask" and request.query.get("limit") == str(PAGE):
            await self._count(RESYNC)
        if single:
            status, content = _only_item(content)
        if call.write is not None and status < 300 and "event" not in call.name:
            version = int(json.loads(content)["metadata"].get("resourceVersion", 0))
            self._versions += [version] if version else []
        if fate is Fate.LOST:
            self._die()
            return _hang_up(request)
        if fate is Fate.LATE:
            await self._keep()
        headers = {name: value for name in ("Retry-After",) if (value := answer.headers.get(name)) is not None}
        made = web.Response(
            status=status, body=content, headers=headers, content_type=answer.content_type or "application/json"
        )
        if fate is Fate.AFTER:
            await made.prepare(request)
            await made.write_eof()
            self._die()
        return made

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        made = web.StreamResponse(headers={"Content-Type": "application/json"})
        kind = _kind_of(request.path)
        async with self._forward(request, path=request.raw_path, body=b"") as answer:
            made.set_status(answer.status)
            await made.prepare(request)
            rest = b""
            async for piece in answer.content.iter_any():
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    try:
                        told = self.lines(kind, line)
                    except StreamCut as cut:
                        await made.write(cut.rest)
                        if cut.broken and request.transport is not None:
                            request.transport.abort()
                        return made
                    for one in told:
                        await made.write(one + b"\n")
            await made.write(rest)
        return made

    def _forward(self, request: web.Request, *, path: str, body: bytes) -> Any:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        return self._session.request(
            request.method, self.target + path, headers=headers, data=body or None, timeout=aiohttp.ClientTimeout()
        )

    async def _called(self, request: web.Request) -> Call:
        self._requests += 1
        name = _in_words(request)
        number, write = self._requests, None
        task = _task_of(request, body=await request.read())
        # The lease is the election's, and outlives every operator by its own rules.
        if request.method != "GET" and "lease" not in name:
            self.writes.append(name)
            write = len(self.writes)
            self._written[task] += 1
            self.most_writes = max(self.most_writes, self._written[task])
        await self._count(name)
        return Call(number=number, write=write, name=name, task=task)

    async def _keep(self) -> None:
        self.held.set()
        await self._count(KEPT)
        await self._release.wait()

    async def _count(self, name: str) -> None:
        async with self._news:
            self.calls[name] += 1
            self._news.notify_all()

    def _die(self) -> None:
        self.deaths += 1
        self.killed.set()


def _in_words(request: web.Request) -> str:
    verb = {"POST": "create", "PATCH": "apply", "DELETE": "delete", "PUT": "put", "GET": "read"}[request.method]
    if request.path.endswith("/status"):
        return f"{verb} status"
    return f"{'watch' if 'watch' in request.query else verb} {_kind_of(request.path)}"


def _kind_of(path: str) -> str:
    parts = path.strip("/").split("/")
    kinds = {"pods", "agenttasks", "events", "leases"}
    return next((part for part in reversed(parts) if part in kinds), parts[-1]).removesuffix("s")


def _task_of(request: web.Request, *, body: bytes) -> str:
    parent, _, last = request.path.removesuffix("/status").rpartition("/")
    if parent.endswith("/agenttasks"):
        return last
    if parent.endswith(("/pods", "/events")):
        return last.rpartition("-")[0]
    if request.method != "POST":
        return ""
    made = json.loads(body)
    return str(made["metadata"].get("labels", {}).get(contract.LABEL_TASK) or made.get("regarding", {}).get("name", ""))


def _hang_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _unscheduled(body: bytes, request: web.Request) -> bytes:
    """Pods are taken by no scheduler, and may take hours to end: the test is scheduler and kubelet, however slow."""
    if request.method != "POST" or not request.path.endswith("/pods"):
        return body
    pod = json.loads(body)
    pod["spec"] |= {"schedulerName": "nobody", "terminationGracePeriodSeconds": 3600}
    return json.dumps(pod).encode()


def _as_of(request: web.Request, *, version: int) -> tuple[str, bool]:
    """The same read, of the past, and whether it is one object's: asked for as a list, for only lists know the past."""
    query = dict(request.query)
    path = request.path
    *parts, last = path.split("/")
    single = parts[-1] == "agenttasks"
    if single:
        path, query["fieldSelector"] = "/".join(parts), f"metadata.name={last}"
    elif last not in {"pods", "agenttasks"} or "continue" in query:
        return request.raw_path, False
    query.pop("limit", None)
    query |= {"resourceVersion": str(version), "resourceVersionMatch": "Exact"}
    return f"{path}?{urlencode(query)}", single


def _only_item(content: bytes) -> tuple[int, bytes]:
    listed = json.loads(content)
    if listed.get("kind") == "Status":
        return int(listed["code"]), content
    if not listed["items"]:
        return 404, b'{"kind": "Status", "message": "not found", "reason": "NotFound", "code": 404}'
    return 200, json.dumps(listed["items"][0]).encode()
