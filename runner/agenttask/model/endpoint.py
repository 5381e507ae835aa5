"""One endpoint: sends one request, in whatever way the endpoint takes it, and says what came of it.

Its key, its headers and its certificates go nowhere else, and the key shows in no message.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx
from httpx_sse import EventSource, SSEError

from agenttask.certificates import wrong_with
from agenttask.clock import Clock
from agenttask.contract import Endpoint, RunnerReason
from agenttask.model.failures import BadReplyError, Failure, ModelError, Trouble, classify, holds_error, refuses
from agenttask.model.stream import END, Assembly
from agenttask.model.wire import MAX_REPLY_BYTES, Mode, Reply, decode_reply, encode_request

CONNECT_SECONDS: Final = 5.0
MAX_STREAM_BYTES: Final = 64 * 1024 * 1024
"""Of a streamed reply with all its wrapping."""


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """What is granted to a reply beside its first token, in seconds."""

    between_tokens: float = 60.0
    usage: float = 10.0
    """From the finish reason to the usage: a reply is not given up for its price tag."""
    whole: float = 1800.0
    """No reply of any use takes longer; an endpoint that drips would hold the run for ever."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """A reply, and how long its first token took."""

    reply: Reply
    first_ms: int


class ModelEndpoint:
    """Where some models of a chain stand."""

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        api_key: str | None,
        certificates: str | None,
        clock: Clock,
        deadlines: Deadlines,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        """`certificates` vouch for the server instead of the system's (PEM). Raises `ModelError` for what cannot be."""
        self._url = _address(f"{endpoint.base_url.rstrip('/')}/chat/completions")
        self.shown = str(self._url.copy_with(username=None, password=None, query=None))
        """Its address as messages name it."""
        self.base_url = endpoint.base_url
        self._key = (api_key or "").strip()
        self._clock = clock
        self._deadlines = deadlines
        self._modes: dict[str, Mode] = {}
        headers = httpx.Headers({"user-agent": "agenttask"})
        headers.update(endpoint.headers)
        headers["content-type"] = "application/json"
        if self._key:
            if not (self._key.isascii() and self._key.isprintable()):
                raise ModelError(
                    reason=RunnerReason.MODEL_DENIED,
                    message="the model's API key has characters that no HTTP header can carry",
                )
            headers["authorization"] = f"Bearer {self._key}"
            self._url = self._url.copy_with(username=None, password=None)  # they would take the key's place
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            transport=transport,
            verify=_trust(certificates),
        )

    async def close(self) -> None:
        """Drops the connections."""
        await self._http.aclose()

    async def look(self) -> int:
        """The status under which it lists its models: most have such a list, and it costs nothing.

        Raises what httpx does; waits without end.
        """
        return (await self._http.get(self._url.join("../models"))).status_code

    async def ask(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any],
        max_tokens: int | None,
        tool_choice: str | None,
        first_token_seconds: float,
    ) -> Received | Failure:
        """One try. What the endpoint does not know of how a reply is asked for, it is not asked for again."""
        while True:
            mode = self._modes.get(model, Mode.STREAM_WITH_USAGE)
            body = encode_request(
                model=model,
                messages=messages,
                tools=tools,
                options=options,
                mode=mode,
                max_tokens=max_tokens,
                tool_choice=tool_choice,
            )
            outcome = await self._try(body, model=model, first_token_seconds=first_token_seconds)
            plainer = _plainer(mode, outcome)
            if plainer is None:
                return outcome
            self._modes[model] = plainer

    async def _try(self, body: bytes, *, model: str, first_token_seconds: float) -> Received | Failure:
        sending = _Sending(
            body=body, model=model, begun=self._clock.monotonic(), first_token_seconds=first_token_seconds
        )
        try:
            async with asyncio.timeout(first_token_seconds) as deadline:
                return await self._send(sending, deadline)
        except TimeoutError:
            failure = Failure(trouble=Trouble.TIMED_OUT, message=self._late(sending))
        except BadReplyError as error:
            failure = _broken(str(error))
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            failure = Failure(trouble=Trouble.NOT_FOUND, message=self._clean(str(error)))
        except httpx.TransportError as error:
            failure = _broken(self._clean(f"{type(error).__name__} {error}".strip()))
        except httpx.DecodingError as error:
            failure = _broken(self._clean(f"the reply's content encoding is broken: {error}"))
        except SSEError as error:
            failure = _broken(str(error))
        if sending.assembly.finished:
            with contextlib.suppress(BadReplyError):
                return self._received(sending)  # only its usage is missing
        return replace(failure, tokens=sending.assembly.abandoned(request_bytes=len(body)))

    def _late(self, sending: _Sending) -> str:
        if sending.first_ms is None:
            return f"no token within {sending.first_token_seconds:g} s"
        if self._clock.monotonic() - sending.begun >= self._deadlines.whole:
            return f"no whole reply within {self._deadlines.whole:g} s"
        return f"the reply stopped in the middle: no token for {self._deadlines.between_tokens:g} s"

    async def _send(self, sending: _Sending, deadline: asyncio.Timeout) -> Received | Failure:
        async with self._http.stream("POST", self._url, content=sending.body) as response:
            response.stream = _Bounded(response.stream)
            if response.status_code == 200 and _is_event_stream(response):
                await self._read(response, sending, deadline)
                if sending.assembly.error is None or sending.assembly.finished:
                    return self._received(sending)
                failure = self._classified(response, sending.assembly.error)
                return replace(failure, tokens=sending.assembly.abandoned(request_bytes=len(sending.body)))
            received = bytearray()
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > MAX_REPLY_BYTES:
                    raise BadReplyError(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
        if response.status_code == 200:
            try:
                reply = decode_reply(bytes(received), request_bytes=len(sending.body), model=sending.model)
            except BadReplyError:
                if not holds_error(bytes(received)):
                    raise
            else:
                return Received(reply=reply, first_ms=self._since(sending.begun))
        return self._classified(response, bytes(received))

    async def _read(self, response: httpx.Response, sending: _Sending, deadline: asyncio.Timeout) -> None:
        """Read a stream to its end; each token moves the deadline."""
        assembly, loop = sending.assembly, asyncio.get_running_loop()
        last = loop.time() + self._deadlines.whole
        events = EventSource(response).aiter_sse()
        async with contextlib.aclosing(events):
            async for event in events:
                if event.data == END:
                    return
                grown = bool(event.data) and assembly.add(event.data)
                if assembly.error is not None:
                    return
                if assembly.received_bytes > MAX_STREAM_BYTES:
                    raise BadReplyError(f"the stream is larger than {MAX_STREAM_BYTES} bytes")
                if grown:
                    if sending.first_ms is None:
                        sending.first_ms = self._since(sending.begun)
                    granted = self._deadlines.usage if assembly.finished else self._deadlines.between_tokens
                    deadline.reschedule(min(loop.time() + granted, last))

    def _received(self, sending: _Sending) -> Received:
        reply = sending.assembly.reply(request_bytes=len(sending.body), model=sending.model)
        first_ms = sending.first_ms if sending.first_ms is not None else self._since(sending.begun)
        return Received(reply=reply, first_ms=first_ms)

    def _classified(self, response: httpx.Response, body: bytes) -> Failure:
        failure = classify(
            # Cleaned before it is cut to length too: a part of the key is none of anybody's business either.
            status=response.status_code,
            body=self._clean(body.decode(errors="replace")).encode(),
            headers=response.headers,
            now=self._clock.now(),
        )
        return replace(failure, message=self._clean(failure.message))

    def _since(self, begun: float) -> int:
        return round((self._clock.monotonic() - begun) * 1000)

    def _clean(self, text: str) -> str:
        """Endpoints quote the key back at times."""
        return text.replace(self._key, "***") if self._key else text


@dataclass(kw_only=True)
class _Sending:
    """One request under way, and what has come back so far."""

    body: bytes
    model: str
    begun: float
    first_token_seconds: float
    first_ms: int | None = None
    assembly: Assembly = field(default_factory=Assembly)


class _Bounded(httpx.AsyncByteStream):
    """A body that is refused once it is too large: a line without an end would fill the memory unseen."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > MAX_STREAM_BYTES:
                raise BadReplyError(f"the reply is larger than {MAX_STREAM_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _plainer(mode: Mode, outcome: Received | Failure) -> Mode | None:
    """How to ask instead, if the endpoint refused the way it was asked."""
    if isinstance(outcome, Received) or mode is Mode.WHOLE:
        return None
    if mode is Mode.STREAM_WITH_USAGE and (refuses(outcome, "stream_options") or refuses(outcome, "include_usage")):
        return Mode.STREAM
    return Mode.WHOLE if refuses(outcome, "stream") else None


def _is_event_stream(response: httpx.Response) -> bool:
    return "text/event-stream" in response.headers.get("content-type", "")


def _address(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ModelError(reason=RunnerReason.MODEL_NOT_FOUND, message=f"the model's base URL: {error}") from error


def _trust(certificates: str | None) -> ssl.SSLContext | bool:
    if certificates is None:
        return True
    if why := wrong_with(certificates):
        raise ModelError(reason=RunnerReason.SPEC_INVALID, message=f"the model's certificates cannot be read: {why}")
    return ssl.create_default_context(cadata=certificates)


def _broken(message: str) -> Failure:
    return Failure(trouble=Trouble.BROKEN, message=message)
