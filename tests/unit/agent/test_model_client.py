"""Trying again: how often, how long between, and what is said in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import httpx
import pytest
from agenttask.clock import ManualClock
from agenttask.contract import RunnerReason
from agenttask.model.client import MAX_REPLY_BYTES, MAX_TRIES, ModelClient
from agenttask.model.failures import MAX_MESSAGE, Failure, ModelError

KEY = "sk-very-secret"
WHOLE = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}

Answer = httpx.Response | Exception


class Endpoint:
    """Answers from a list, the last of it for ever."""

    def __init__(self, answers: Sequence[Callable[[], Answer]]) -> None:
        self.requests: list[httpx.Request] = []
        self.retries: list[tuple[Failure, float]] = []
        self.waits: list[float] = []
        self._answers = answers

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers[min(len(self.requests), len(self._answers)) - 1]()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, *, key: str | None = KEY, url: str = "https://user:word@model.test/v1/") -> ModelClient:
        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        return ModelClient(
            base_url=url,
            model="m",
            api_key=key,
            clock=ManualClock(),
            random=Random(1),
            sleep=sleep,
            on_retry=lambda failure, wait: self.retries.append((failure, wait)),
            transport=httpx.MockTransport(self.handle),
        )


def whole() -> Answer:
    return httpx.Response(200, json=WHOLE)


def status(code: int, *, text: str = "", **headers: str) -> Callable[[], Answer]:
    return lambda: httpx.Response(code, json={"error": {"message": text}}, headers=headers)


@dataclass(frozen=True, kw_only=True)
class Passing:
    """A failure that passes: how the second try comes about."""

    first: Callable[[], Answer]
    waits: tuple[float, float]
    """Bounds of the wait before the second try."""


PASSING = {
    "a 500": Passing(first=status(500), waits=(0.5, 1)),
    "a 429 that says how long": Passing(first=status(429, **{"retry-after": "30"}), waits=(30, 30)),
    "a 429 that says at once": Passing(first=status(429, **{"retry-after": "0"}), waits=(0.1, 0.25)),
    "a refused connection": Passing(first=lambda: httpx.ConnectError("refused"), waits=(0.5, 1)),
    "a dropped connection": Passing(first=lambda: httpx.RemoteProtocolError("dropped"), waits=(0.5, 1)),
    "a reply that takes too long": Passing(first=lambda: httpx.ReadTimeout("slow"), waits=(0.5, 1)),
    "half a reply": Passing(first=lambda: httpx.Response(200, content=b'{"choices": [{"mess'), waits=(0.5, 1)),
    "a reply without an end": Passing(
        first=lambda: httpx.Response(200, content=b" " * (MAX_REPLY_BYTES + 1)), waits=(0.5, 1)
    ),
    "an error inside a 200": Passing(
        first=lambda: httpx.Response(200, json={"error": {"code": 502, "message": "upstream"}}), waits=(0.5, 1)
    ),
}


@pytest.mark.parametrize("case", PASSING.values(), ids=PASSING.keys())
async def test_what_passes_is_tried_again(case: Passing) -> None:
    endpoint = Endpoint([case.first, whole])
    client = endpoint.client()
    answered = await client.call(messages=[{"role": "user", "content": "hi"}], tools=[])
    await client.close()
    assert answered.reply.message == {"role": "assistant", "content": "hi"}
    assert len(answered.failed) == len(endpoint.retries) == 1
    assert case.waits[0] <= endpoint.waits[0] <= case.waits[1]
    assert endpoint.requests[0].content == endpoint.requests[1].content


async def test_tries_end_and_say_what_the_last_one_met() -> None:
    endpoint = Endpoint([status(503, text="overloaded")])
    with pytest.raises(ModelError, match="no reply in 4 tries; HTTP 503: overloaded") as error:
        await endpoint.client().call(messages=[], tools=[])
    assert error.value.reason is RunnerReason.MODEL_UNAVAILABLE
    assert len(endpoint.requests) == MAX_TRIES
    assert endpoint.waits == sorted(endpoint.waits)


FINAL = {
    "a wrong key": (status(401), RunnerReason.MODEL_DENIED),
    "an unknown model": (status(404), RunnerReason.MODEL_NOT_FOUND),
    "a used-up quota": (status(402), RunnerReason.MODEL_QUOTA_EXHAUSTED),
    "a bad request": (status(400), RunnerReason.MODEL_REFUSED),
    "a wait longer than a pod should be kept for": (
        status(429, **{"retry-after": "3600"}),
        RunnerReason.MODEL_UNAVAILABLE,
    ),
    "an address that is none": (lambda: httpx.UnsupportedProtocol("no scheme"), RunnerReason.MODEL_NOT_FOUND),
}


@pytest.mark.parametrize(("answer", "reason"), FINAL.values(), ids=FINAL.keys())
async def test_what_does_not_pass_is_tried_once(answer: Callable[[], Answer], reason: RunnerReason) -> None:
    endpoint = Endpoint([answer])
    with pytest.raises(ModelError) as error:
        await endpoint.client().call(messages=[], tools=[])
    assert error.value.reason is reason
    assert len(endpoint.requests) == 1
    assert endpoint.waits == []


async def test_the_key_goes_into_the_header_and_into_no_message() -> None:
    endpoint = Endpoint([status(401, text=f"Incorrect key {KEY} provided")])
    with pytest.raises(ModelError) as error:
        await endpoint.client(key=f"{KEY}\n").call(messages=[], tools=[])
    assert endpoint.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert str(error.value) == "https://model.test/v1/chat/completions: HTTP 401: Incorrect key *** provided"


async def test_a_key_that_is_quoted_where_a_message_is_cut_leaves_no_part_of_it() -> None:
    endpoint = Endpoint([status(401, text="x" * (MAX_MESSAGE - 5) + KEY)])
    with pytest.raises(ModelError) as error:
        await endpoint.client().call(messages=[], tools=[])
    assert KEY[:4] not in str(error.value)


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_no_header_can_carry_is_denied(key: str) -> None:
    with pytest.raises(ModelError) as error:
        Endpoint([whole]).client(key=key)
    assert error.value.reason is RunnerReason.MODEL_DENIED
    assert key not in str(error.value)


async def test_no_key_means_no_header() -> None:
    endpoint = Endpoint([whole])
    await endpoint.client(key=None, url="http://model.test/v1").call(messages=[], tools=[])
    assert "authorization" not in endpoint.requests[0].headers
    assert str(endpoint.requests[0].url) == "http://model.test/v1/chat/completions"


def test_a_base_url_that_is_none_is_not_found() -> None:
    with pytest.raises(ModelError) as error:
        Endpoint([whole]).client(url="http://[::1")
    assert error.value.reason is RunnerReason.MODEL_NOT_FOUND
