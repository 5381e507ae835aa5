"""Trying again: how often, how long between, when another model, and what is said in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from agenttask.clock import ManualClock
from agenttask.contract import ENV_MODEL_API_KEY, ENV_MODEL_CA, Fallback, Model, Price, RunnerReason
from agenttask.model import client
from agenttask.model.chain import SUCCESS_WINDOW, links_of
from agenttask.model.client import Answered, Ask, ModelClient, Switched
from agenttask.model.endpoint import MAX_STREAM_BYTES, Deadlines
from agenttask.model.failures import MAX_MESSAGE, Failure, ModelError
from agenttask.model.wire import MAX_REPLY_BYTES

KEY = "sk-very-secret"
MEBIBYTE = 1024 * 1024
WHOLE = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
ASK = Ask(messages=[{"role": "user", "content": "hi"}], tools=[])
FREE = Price(input=Decimal(0), output=Decimal(0))
MODEL = Model(base_url="https://user:word@model.test/v1/", name="m", price=FREE)
DEFAULT = Deadlines()
TRIES = 1 + MODEL.max_retries

Answer = httpx.Response | Exception
Answers = Sequence[Callable[[], Answer]]


class Endpoint:
    """Answers from a list, the last of it for ever."""

    def __init__(self, answers: Answers) -> None:
        self.requests: list[httpx.Request] = []
        self.retries: list[tuple[str, Failure, float]] = []
        self.waits: list[float] = []
        self.clock = ManualClock()
        self._answers = answers

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers[min(len(self.requests), len(self._answers)) - 1]()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies of all requests."""
        return [msgspec.json.decode(request.content) for request in self.requests]

    def client(
        self,
        *,
        key: str | None = KEY,
        model: Model = MODEL,
        deadlines: Deadlines = DEFAULT,
        secrets: Mapping[str, str] = {},
    ) -> ModelClient:
        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)

        return ModelClient(
            model=model,
            secrets={**({ENV_MODEL_API_KEY: key} if key else {}), **secrets},
            clock=self.clock,
            random=Random(1),
            sleep=sleep,
            on_retry=lambda name, failure, wait: self.retries.append((name, failure, wait)),
            transport=httpx.MockTransport(self.handle),
            deadlines=deadlines,
        )


async def answered(asking: ModelClient, ask: Ask = ASK) -> Answered:
    outcome = await asking.call(ask)
    assert isinstance(outcome, Answered)
    return outcome


async def switched(asking: ModelClient, ask: Ask = ASK) -> Switched:
    outcome = await asking.call(ask)
    assert isinstance(outcome, Switched)
    return outcome


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
    asking = endpoint.client()
    got = await answered(asking)
    await asking.close()
    assert got.reply.message == {"role": "assistant", "content": "hi"}
    assert len(got.failed) == len(endpoint.retries) == 1
    assert case.waits[0] <= endpoint.waits[0] <= case.waits[1]
    assert endpoint.requests[0].content == endpoint.requests[1].content


async def test_tries_end_and_say_what_the_last_one_met() -> None:
    endpoint = Endpoint([status(503, text="overloaded")])
    with pytest.raises(ModelError, match="no reply in 4 tries; HTTP 503: overloaded") as error:
        await endpoint.client().call(ASK)
    assert error.value.reason is RunnerReason.MODEL_UNAVAILABLE
    assert len(endpoint.requests) == TRIES
    assert endpoint.waits == sorted(endpoint.waits)


FINAL = {
    "a wrong key": (status(401), RunnerReason.MODEL_DENIED),
    "an unknown model": (status(404), RunnerReason.MODEL_NOT_FOUND),
    "a used-up quota": (status(402), RunnerReason.MODEL_QUOTA_EXHAUSTED),
    "a bad request": (status(400), RunnerReason.MODEL_REFUSED),
    "a wait longer than a pod should be kept for": (
        status(429, **{"retry-after": "3600"}),
        RunnerReason.MODEL_RATE_LIMITED,
    ),
    "an address that is none": (lambda: httpx.UnsupportedProtocol("no scheme"), RunnerReason.MODEL_NOT_FOUND),
}


@pytest.mark.parametrize(("answer", "reason"), FINAL.values(), ids=FINAL.keys())
async def test_what_does_not_pass_is_tried_once(answer: Callable[[], Answer], reason: RunnerReason) -> None:
    endpoint = Endpoint([answer])
    with pytest.raises(ModelError) as error:
        await endpoint.client().call(ASK)
    assert error.value.reason is reason
    assert len(endpoint.requests) == 1
    assert endpoint.waits == []
    assert [one.message for one in error.value.failed]


async def test_who_is_told_to_wait_longer_than_a_call_should_says_how_long() -> None:
    for answer, want in ((status(429, **{"retry-after": "3600"}), 3600), (status(402, **{"retry-after": "30"}), 30)):
        with pytest.raises(ModelError) as error:
            await Endpoint([answer]).client().call(ASK)
        assert error.value.after_seconds == want


async def test_the_key_goes_into_the_header_and_into_no_message() -> None:
    endpoint = Endpoint([status(401, text=f"Incorrect key {KEY} provided")])
    with pytest.raises(ModelError) as error:
        await endpoint.client(key=f"{KEY}\n").call(ASK)
    assert endpoint.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert str(error.value) == "https://model.test/v1/chat/completions: HTTP 401: Incorrect key *** provided"


async def test_a_key_that_is_quoted_where_a_message_is_cut_leaves_no_part_of_it() -> None:
    endpoint = Endpoint([status(401, text="x" * (MAX_MESSAGE - 5) + KEY)])
    with pytest.raises(ModelError) as error:
        await endpoint.client().call(ASK)
    assert KEY[:4] not in str(error.value)


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_no_header_can_carry_is_denied(key: str) -> None:
    with pytest.raises(ModelError) as error:
        Endpoint([whole]).client(key=key)
    assert error.value.reason is RunnerReason.MODEL_DENIED
    assert key not in str(error.value)


async def test_no_key_means_no_header() -> None:
    endpoint = Endpoint([whole])
    await endpoint.client(key=None, model=Model(base_url="http://model.test/v1", name="m", price=FREE)).call(ASK)
    assert "authorization" not in endpoint.requests[0].headers
    assert str(endpoint.requests[0].url) == "http://model.test/v1/chat/completions"


def test_a_base_url_that_is_none_is_not_found() -> None:
    with pytest.raises(ModelError) as error:
        Endpoint([whole]).client(model=Model(base_url="http://[::1", name="m"))
    assert error.value.reason is RunnerReason.MODEL_NOT_FOUND


def chunk(delta: dict[str, Any] | None = None, *, finish: str | None = None, **more: Any) -> bytes:
    return event({"choices": [{"delta": delta or {}, "finish_reason": finish}], **more})


def event(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
STREAM = (chunk({"role": "assistant"}), chunk({"content": "h"}), chunk({"content": "i"}), chunk(finish="stop"), USAGE)


class Pieces(httpx.AsyncByteStream):
    """A body that comes in pieces, and stalls where the piece is None."""

    def __init__(self, *pieces: bytes | Exception | None) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if piece is None:
                await asyncio.Event().wait()
            if isinstance(piece, Exception):
                raise piece
            yield piece or b""


def stream(*pieces: bytes | Exception | None) -> Callable[[], Answer]:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return lambda: httpx.Response(200, headers=headers, stream=Pieces(*pieces))


SHORT = Deadlines(between_tokens=0.02, usage=0.02)


async def test_a_streamed_reply_is_the_one_that_would_have_come_in_one_piece() -> None:
    got = await answered(Endpoint([stream(b": keep-alive\n\n", *STREAM, DONE)]).client())
    assert got.reply.message == {"role": "assistant", "content": "hi"}
    assert (got.reply.tokens.prompt, got.reply.tokens.completion) == (3, 4)
    assert got.failed == ()


BROKEN_STREAMS = {
    "a stream that ends before its reply": stream(*STREAM[:3]),
    "a stream that says it is done before its reply is": stream(*STREAM[:3], DONE),
    "a connection that drops in the middle": stream(*STREAM[:2], httpx.RemoteProtocolError("dropped")),
    "a chunk that is no JSON": stream(*STREAM[:2], b"data: {half\n\n"),
    "an error in the middle": stream(*STREAM[:2], event({"error": {"message": "upstream", "code": 502}})),
    "tokens that stop coming": stream(*STREAM[:2], None),
    "nothing but signs of life": stream(*STREAM[:2], b": ping\n\n", chunk({"content": ""}), None),
    "events without end": stream(*[b"data: " + b" " * 1024 * 1024 + b"{}\n\n"] * 70),
}


@pytest.mark.parametrize("first", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS.keys())
async def test_a_broken_stream_is_no_reply_and_is_asked_for_again(first: Callable[[], Answer]) -> None:
    endpoint = Endpoint([first, stream(*STREAM)])
    got = await answered(endpoint.client(deadlines=SHORT))
    assert got.reply.message == {"role": "assistant", "content": "hi"}
    assert len(got.failed) == 1


async def test_a_line_that_never_ends_is_not_read_to_its_end() -> None:
    sent = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                yield b"x" * MEBIBYTE

    def answer() -> Answer:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Endless())

    got = await answered(Endpoint([answer, whole]).client())
    assert "larger than" in got.failed[0].message
    assert sent <= MAX_STREAM_BYTES // MEBIBYTE + 1


async def test_a_try_that_ran_into_its_deadline_gives_the_next_one_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def deadline(latencies_ms: Sequence[int]) -> float:
        seen.append(list(latencies_ms))
        return 0.01

    monkeypatch.setattr(client, "first_token_seconds", deadline)
    got = await answered(Endpoint([stream(None), whole]).client(), Ask(messages=[], tools=[], latencies_ms={"m": [7]}))
    assert got.failed[0].timed_out
    assert seen == [[7], [7, got.failed[0].ms]]


async def test_what_broke_off_is_charged_as_an_estimate() -> None:
    got = await answered(Endpoint([stream(*STREAM[:3]), stream(*STREAM)]).client())
    lost = got.failed[0].tokens
    assert lost is not None
    assert lost.estimated
    assert "ended before the reply" in got.failed[0].message


async def test_an_error_in_the_middle_is_charged_likewise_and_one_behind_the_end_is_none() -> None:
    error = event({"error": {"message": "upstream", "code": 502}})
    got = await answered(Endpoint([stream(*STREAM[:3], error), stream(*STREAM[:4], error)]).client())
    assert [(one.message, one.tokens is not None) for one in got.failed] == [("HTTP 502: upstream", True)]


FINISHED = {
    "no usage and no end mark": stream(*STREAM[:4]),
    "a usage that never comes": stream(*STREAM[:4], None),
    "a connection that drops instead of the usage": stream(*STREAM[:4], httpx.ReadError("dropped")),
}


@pytest.mark.parametrize("answer", FINISHED.values(), ids=FINISHED.keys())
async def test_a_reply_with_a_finish_reason_is_whole_without_its_usage(answer: Callable[[], Answer]) -> None:
    got = await answered(Endpoint([answer]).client(deadlines=SHORT))
    assert got.reply.message["content"] == "hi"
    assert got.reply.tokens.estimated
    assert got.failed == ()


async def test_a_time_out_says_so_and_is_left_for_the_next_model_after_the_second() -> None:
    model = Model(base_url="http://model.test/v1", name="slow", price=FREE, fallbacks=(Fallback(name="quick"),))
    endpoint = Endpoint([stream(*STREAM[:2], None)])
    got = await switched(endpoint.client(model=model, deadlines=SHORT))
    assert (got.link, got.model) == (1, "quick")
    assert [(one.model, one.timed_out) for one in got.failed] == [("slow", True)] * 2
    assert "no token for" in got.failed[0].message


REFUSALS: dict[str, tuple[Answers, list[tuple[bool, bool]]]] = {
    "a stream's usage": ([status(400, text="unknown field stream_options"), stream(*STREAM)], [(True, False)]),
    "streams": ([status(400, text="stream is not supported"), whole], [(False, False)]),
    "both, one after the other": (
        [status(422, text="stream_options: extra"), status(422, text="stream: extra"), whole],
        [(True, False), (False, False)],
    ),
}


@pytest.mark.parametrize(("answers", "then"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_what_an_endpoint_refuses_it_is_not_asked_for_again(
    answers: Answers, then: list[tuple[bool, bool]]
) -> None:
    endpoint = Endpoint(answers)
    asking = endpoint.client()
    assert (await answered(asking)).failed == ()
    before = len(endpoint.requests)
    assert [("stream" in body, "stream_options" in body) for body in endpoint.asked] == [(True, True), *then]
    await asking.call(ASK)
    assert len(endpoint.requests) == before + 1
    assert ("stream" in endpoint.asked[-1], "stream_options" in endpoint.asked[-1]) == then[-1]


OTHER_KEY = "sk-other-secret"
CHAIN = Model(
    base_url="https://first.test/v1",
    name="first",
    headers={"x-team": "blue"},
    price=FREE,
    fallbacks=(
        Fallback(name="second", price=FREE, options={"temperature": 0}),
        Fallback(name="third", base_url="https://third.test/v1", price=FREE),
        Fallback(name="fourth", base_url="https://fourth.test/v1", price=FREE),
    ),
)


async def test_a_key_and_headers_go_only_to_the_endpoint_they_are_written_beside() -> None:
    endpoint = Endpoint([whole])
    asking = endpoint.client(model=CHAIN, secrets={f"{ENV_MODEL_API_KEY}_2": OTHER_KEY})
    for link in links_of(CHAIN):
        await asking.call(Ask(messages=[], tools=[], link=link.number, model=link.name))
    await asking.close()
    sent = [
        (request.url.host, request.headers.get("authorization"), request.headers.get("x-team"))
        for request in endpoint.requests
    ]
    assert sent == [
        ("first.test", f"Bearer {KEY}", "blue"),
        ("first.test", f"Bearer {KEY}", "blue"),
        ("third.test", f"Bearer {OTHER_KEY}", None),
        ("fourth.test", None, None),
    ]
    assert [body.get("temperature") for body in endpoint.asked] == [None, 0, None, None]


async def test_headers_of_the_task_s_own_replace_ours_but_not_what_the_protocol_needs() -> None:
    endpoint = Endpoint([whole])
    headers = {"User-Agent": "mine", "Content-Type": "text/plain", "Authorization": "Basic x"}
    await endpoint.client(model=Model(base_url="http://m.test", name="m", price=FREE, headers=headers)).call(ASK)
    sent = endpoint.requests[0].headers
    assert sent.get_list("user-agent") == ["mine"]
    assert sent.get_list("content-type") == ["application/json"]
    assert sent.get_list("authorization") == [f"Bearer {KEY}"]


async def test_a_used_up_account_is_left_for_another_one_at_once() -> None:
    endpoint = Endpoint([status(402, text="spent")])
    got = await switched(endpoint.client(model=CHAIN))
    assert (got.link, got.model, got.why) == (2, "third", "first: HTTP 402: spent")
    assert endpoint.waits == []


async def test_after_a_while_the_first_model_gets_another_chance() -> None:
    endpoint = Endpoint([whole])
    ask = Ask(messages=[], tools=[], link=1, model="second", replies=SUCCESS_WINDOW)
    assert await switched(endpoint.client(model=CHAIN), ask) == Switched(
        link=0, model="first", why="it gets another chance"
    )
    assert endpoint.requests == []


async def test_a_model_that_is_no_longer_in_its_place_is_not_asked() -> None:
    endpoint = Endpoint([whole])
    for link, name in ((1, "another"), (9, "second")):
        got = await switched(endpoint.client(model=CHAIN), Ask(messages=[], tools=[], link=link, model=name))
        assert (got.link, got.why) == (0, "the task's models were edited")
    assert endpoint.requests == []


async def test_a_broken_fallback_at_the_end_is_trouble_that_passes_since_the_first_model_will_be_back() -> None:
    endpoint = Endpoint([status(401)])
    with pytest.raises(ModelError, match=r"https://fourth.test/v1/chat/completions: fourth: HTTP 401") as error:
        await endpoint.client(model=CHAIN).call(Ask(messages=[], tools=[], link=3, model="fourth"))
    assert error.value.reason is RunnerReason.MODEL_UNAVAILABLE


async def test_the_number_of_tries_is_the_task_s_to_say() -> None:
    endpoint = Endpoint([status(500)])
    with pytest.raises(ModelError, match="no reply in 1 try"):
        await endpoint.client(model=Model(base_url="http://m.test", name="m", max_retries=0)).call(ASK)
    assert len(endpoint.requests) == 1


async def test_a_reply_has_its_price_at_once() -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 100_000}
    endpoint = Endpoint([lambda: httpx.Response(200, json={**WHOLE, "usage": usage})])
    model = Model(base_url="http://m.test", name="m", price=Price(input=Decimal("0.25"), output=Decimal(1)))
    assert (await answered(endpoint.client(model=model))).cost_usd == Decimal("0.35")


@pytest.mark.parametrize("given", ["", "\n", "no certificate", "no ASCII \u2013"])
def test_certificates_that_are_none_are_the_spec_s_fault_and_not_the_system_s(given: str) -> None:
    with pytest.raises(ModelError) as error:
        Endpoint([whole]).client(secrets={ENV_MODEL_CA: given})
    assert error.value.reason is RunnerReason.SPEC_INVALID
