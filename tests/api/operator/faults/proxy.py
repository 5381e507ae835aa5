"""A proxy between one operator and the API server, which does to each request what a plan says.

It speaks HTTP to the operator and HTTPS to the server, passes the operator's own token on, and streams watches through
line by line. Writes are numbered from 1 in the order in which they come; what happens to a request is its `Fate`:

    PASS      forwarded and answered
    BEFORE    never forwarded: the operator died before its write
    LOST      forwarded, the answer withheld: it died after its write, without knowing
    AFTER     forwarded and answered, and then it died
    RESET     never forwarded, and the operator lives: a connection broke
    BUSY      answered 429, to come back at once
    DOWN      answered 503
    BROKEN    answered 500 by something that is no API server
    STALE     a read answered with what was true before this operator's last write
    HELD      kept until `release`: the operator sleeps while the world goes on

After a death nothing of that operator passes until `revive`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

_PASSED_ON: Final = ("Authorization", "Content-Type", "Accept")
_ANSWERS: Final = {
    "BUSY": (
        429,
        {"Retry-After": "0"},
        '{"kind": "Status", "message": "too many requests", "reason": "TooManyRequests"}',
    ),
    "DOWN": (503, {}, "upstream connect error"),
    "BROKEN": (500, {}, "<html>it broke</html>"),
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
    STALE = "STALE"
    HELD = "HELD"


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


Judge = Callable[[Call], Fate]
Lines = Callable[[str, bytes], "list[bytes]"]


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
    """What becomes of a line of a watch; is told the watch's path."""
    writes: list[str] = field(default_factory=list)
    """Every write that came, in words."""
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    deaths: int = 0
    _requests: int = 0
    _release: asyncio.Event = field(default_factory=asyncio.Event)
    _last_version: int | None = None

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
        await self._runner.cleanup()
        await self._session.close()

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

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.killed.is_set():
            return _hang_up(request)
        call = self._called(request)
        fate = self.judge(call)
        if fate in _ANSWERS:
            status, headers, text = _ANSWERS[fate]
            return web.Response(status=status, headers=headers, text=text, content_type="application/json")
        if fate in {Fate.BEFORE, Fate.RESET}:
            if fate is Fate.BEFORE:
                self._die()
            return _hang_up(request)
        if fate is Fate.HELD:
            self.held.set()
            await self._release.wait()
        if "watch" in request.query:
            return await self._stream(request)
        return await self._exchange(request, call=call, fate=fate)

    async def _exchange(self, request: web.Request, *, call: Call, fate: Fate) -> web.StreamResponse:
        path, single = request.raw_path, False
        if fate is Fate.STALE and self._last_version is not None and call.write is None:
            path, single = _as_of(request, version=self._last_version - 1)
        body = _unscheduled(await request.read(), request)
        async with self._forward(request, path=path, body=body) as answer:
            content = await answer.read()
        status = answer.status
        if single:
            status, content = _only_item(content)
        if call.write is not None and status < 300 and "event" not in call.name:
            self._last_version = int(json.loads(content)["metadata"].get("resourceVersion", 0)) or self._last_version
        if fate is Fate.LOST:
            self._die()
            return _hang_up(request)
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
        async with self._forward(request, path=request.raw_path, body=b"") as answer:
            made.set_status(answer.status)
            await made.prepare(request)
            rest = b""
            async for piece in answer.content.iter_any():
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    for told in self.lines(request.path, line):
                        await made.write(told + b"\n")
            await made.write(rest)
        return made

    def _forward(self, request: web.Request, *, path: str, body: bytes) -> Any:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        return self._session.request(
            request.method, self.target + path, headers=headers, data=body or None, timeout=aiohttp.ClientTimeout()
        )

    def _called(self, request: web.Request) -> Call:
        self._requests += 1
        name = _in_words(request)
        write = None
        # The lease is the election's, and outlives every operator by its own rules.
        if request.method != "GET" and "lease" not in name:
            self.writes.append(name)
            write = len(self.writes)
        return Call(number=self._requests, write=write, name=name)

    def _die(self) -> None:
        self.deaths += 1
        self.killed.set()


def _in_words(request: web.Request) -> str:
    verb = {"POST": "create", "PATCH": "apply", "DELETE": "delete", "PUT": "put", "GET": "read"}[request.method]
    parts = request.path.strip("/").split("/")
    if parts[-1] == "status":
        return f"{verb} status"
    kind = next((part for part in reversed(parts) if part in {"pods", "agenttasks", "events", "leases"}), parts[-1])
    return f"{verb} {kind.removesuffix('s')}"


def _hang_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _unscheduled(body: bytes, request: web.Request) -> bytes:
    """Pods are taken by no scheduler: the test is scheduler and kubelet."""
    if request.method != "POST" or not request.path.endswith("/pods"):
        return body
    pod = json.loads(body)
    pod["spec"]["schedulerName"] = "nobody"
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
