"""Sends one conversation, waits, tries again where that can help, and gives the whole reply or says why there is none.

Nothing here is durable: a reply counts once the caller has appended it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from agenttask.clock import Clock
from agenttask.contract import RunnerReason
from agenttask.model.failures import BadReplyError, Failure, ModelError, classify, holds_error
from agenttask.model.wire import Reply, decode_reply, encode_request

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 120.0
"""For one try, from connecting to the last byte of the reply."""
MAX_TRIES = 4
BACKOFF_SECONDS = (1.0, 4.0, 16.0)
"""Before the second, third and fourth try; each is shortened at random by up to a half."""
MAX_WAIT_SECONDS = 60.0
"""A Retry-After beyond this is not waited out with a pod: the attempt ends and the operator tries again later."""
MAX_REPLY_BYTES = 2 * 1024 * 1024
"""Far below what one record of the log may hold."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A reply, and what it took to get it."""

    reply: Reply
    ms: int
    failed: tuple[str, ...]


class ModelClient:
    """One endpoint, one model, one key. The key goes nowhere else and shows in no message."""

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str | None,
        clock: Clock,
        random: Random,
        sleep: Callable[[float], Awaitable[None]],
        on_retry: Callable[[Failure, float], None],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`sleep` waits between tries and may raise to end the call; `on_retry` hears of each failure and its wait."""
        self._url = _address(f"{base_url.rstrip('/')}/chat/completions")
        self._shown = str(self._url.copy_with(username=None, password=None, query=None))
        self._model = model
        self._key = (api_key or "").strip()
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._on_retry = on_retry
        headers = {"content-type": "application/json", "accept": "application/json", "user-agent": "agenttask"}
        if self._key:
            if not (self._key.isascii() and self._key.isprintable()):
                raise ModelError(
                    reason=RunnerReason.MODEL_DENIED,
                    message="the model's API key has characters that no HTTP header can carry",
                )
            headers["authorization"] = f"Bearer {self._key}"
            self._url = self._url.copy_with(username=None, password=None)  # they would take the key's place
        self._http = httpx.AsyncClient(
            headers=headers, timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS), transport=transport
        )

    async def close(self) -> None:
        """Drops the connections."""
        await self._http.aclose()

    async def call(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
    ) -> Answered:
        """One reply, of at most `max_tokens`. Raises `ModelError` once trying again cannot help, or has not."""
        body = encode_request(model=self._model, messages=messages, tools=tools, max_tokens=max_tokens)
        failed: list[str] = []
        while True:
            begun = self._clock.monotonic()
            outcome = await self._try(body)
            if isinstance(outcome, Reply):
                ms = round((self._clock.monotonic() - begun) * 1000)
                return Answered(reply=outcome, ms=ms, failed=tuple(failed))
            failed.append(outcome.message)
            if not outcome.retry:
                raise ModelError(reason=outcome.reason, message=f"{self._shown}: {outcome.message}")
            if len(failed) == MAX_TRIES:
                raise ModelError(
                    reason=outcome.reason, message=f"{self._shown}: no reply in {MAX_TRIES} tries; {outcome.message}"
                )
            wait = self._wait(outcome, failures=len(failed))
            if wait > MAX_WAIT_SECONDS:
                raise ModelError(
                    reason=outcome.reason, message=f"{self._shown}: asks to wait {wait:.0f} s; {outcome.message}"
                )
            self._on_retry(outcome, wait)
            await self._sleep(wait)

    def _wait(self, failure: Failure, *, failures: int) -> float:
        backoff = BACKOFF_SECONDS[failures - 1] * self._random.uniform(0.5, 1.0)
        return backoff if failure.after_seconds is None else max(failure.after_seconds, backoff / 4)

    async def _try(self, body: bytes) -> Reply | Failure:
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                return await self._send(body)
        except TimeoutError:
            return _passing(f"no whole reply within {TOTAL_SECONDS:.0f} s")
        except BadReplyError as error:
            return _passing(str(error))
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            return Failure(reason=RunnerReason.MODEL_NOT_FOUND, message=self._clean(str(error)))
        except httpx.TransportError as error:
            return _passing(self._clean(f"{type(error).__name__} {error}".strip()))
        except httpx.DecodingError as error:
            return _passing(self._clean(f"the reply's content encoding is broken: {error}"))

    async def _send(self, body: bytes) -> Reply | Failure:
        async with self._http.stream("POST", self._url, content=body) as response:
            received = bytearray()
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > MAX_REPLY_BYTES:
                    raise BadReplyError(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
        if response.status_code == 200:
            try:
                return decode_reply(bytes(received), request_bytes=len(body), model=self._model)
            except BadReplyError:
                if not holds_error(bytes(received)):
                    raise
        failure = classify(
            # Cleaned before it is cut to length too: a part of the key is none of anybody's business either.
            status=response.status_code,
            body=self._clean(received.decode(errors="replace")).encode(),
            headers=response.headers,
            now=self._clock.now(),
        )
        return Failure(
            reason=failure.reason,
            message=self._clean(failure.message),
            retry=failure.retry,
            after_seconds=failure.after_seconds,
        )

    def _clean(self, text: str) -> str:
        """Endpoints quote the key back at times."""
        return text.replace(self._key, "***") if self._key else text


def _address(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ModelError(reason=RunnerReason.MODEL_NOT_FOUND, message=f"the model's base URL: {error}") from error


def _passing(message: str) -> Failure:
    return Failure(reason=RunnerReason.MODEL_UNAVAILABLE, message=message, retry=True)
