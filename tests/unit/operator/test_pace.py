"""Calls of the API server: how many are let through, and what is done when it asks for patience."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from agenttask_operator.answers import ClusterError, UnreachableError
from agenttask_operator.cluster import MAX_SENDS, MAX_TOLD_SECONDS, Cluster
from agenttask_operator.metrics import Metrics
from agenttask_operator.settings import ClientConnection

from tests.unit.operator.scraped import scraped


@dataclass(kw_only=True)
class Answer:
    """One answer of the server."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"message": "It is so."}'

    async def read(self) -> bytes:
        return self.body


class Api:
    """A session at a server that answers as it was told to, the last answer again and again."""

    default_headers: dict[str, str] = {}  # noqa: RUF012 - as the client has it

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self.raises: OSError | None = None
        self.rest_client = self
        self.configuration = self
        self.host = "https://api.invalid"

    async def update_params_for_auth(self, *_: Any) -> None:
        """Nobody is asked for a name here."""

    async def request(self, method: str, url: str, **_: Any) -> Answer:
        self.asked.append(f"{method} {url.removeprefix(self.host)}")
        if self.raises is not None:
            raise self.raises
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class Sleep:
    """Passes at once, and remembers."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def busy(status: int, seconds: str) -> Answer:
    return Answer(status=status, headers={"Retry-After": seconds})


PATIENCE: dict[str, tuple[list[Answer], list[float], type[ClusterError] | None]] = {
    "a server that is not busy": ([Answer(status=200)], [], None),
    "429 says when to come back": ([busy(429, "3"), Answer(status=200)], [3], None),
    "503 says so too": ([busy(503, "1"), Answer(status=200)], [1], None),
    "429 that does not say when": ([Answer(status=429)], [], UnreachableError),
    "503 that does not say when": ([Answer(status=503)], [], UnreachableError),
    "a time that is a date": ([busy(503, "Wed, 21 Oct 2026 07:28:00 GMT")], [], UnreachableError),
    "much patience is asked for": ([busy(429, "600"), Answer(status=200)], [MAX_TOLD_SECONDS], None),
    "again and again": ([busy(429, "1")], [1] * (MAX_SENDS - 1), UnreachableError),
    "a refusal, whatever stands beside it": ([busy(403, "1")], [], ClusterError),
}


@pytest.mark.parametrize("sentence", PATIENCE)
async def test_a_server_that_says_when_to_come_back_is_asked_again_then(sentence: str) -> None:
    answers, want, raised = PATIENCE[sentence]
    api, sleep = Api(*answers), Sleep()
    cluster = Cluster(cast(Any, api), sleep=sleep)
    if raised is None:
        await cluster.check_served()
    else:
        with pytest.raises(raised, match=r"It is so\."):
            await cluster.check_served()
    assert sleep.slept == want
    assert len(api.asked) == len(want) + 1


async def test_a_release_with_namespaces_asks_of_these_alone() -> None:
    api = Api(Answer(status=200, body=b'{"items": [], "metadata": {}}'))
    cluster = Cluster(cast(Any, api), namespaces=("blue", "red"))
    assert not [one async for one in cluster.tasks()]
    assert not [one async for one in cluster.pods()]
    await cluster.check_served()
    asked = [url.partition("?")[0].removeprefix("GET ") for url in api.asked]
    tasks = [f"/apis/agenttask.dev/v1alpha1/namespaces/{name}/agenttasks" for name in ("blue", "red")]
    pods = [f"/api/v1/namespaces/{name}/pods" for name in ("blue", "red")]
    assert asked == [*tasks, *pods, *tasks]


async def test_every_call_is_counted_by_verb_and_code() -> None:
    counts = Metrics()
    cluster = Cluster(cast(Any, Api(busy(429, "1"), Answer(status=200))), counts=counts, sleep=Sleep())
    await cluster.check_served()
    assert scraped(counts, "agenttask_api_requests_total") == {("list", "429"): 1, ("list", "200"): 1}


async def test_a_call_without_an_answer_is_counted_too() -> None:
    counts = Metrics()
    api = Api(Answer(status=200))
    api.raises = OSError("no route")
    with pytest.raises(UnreachableError):
        await Cluster(cast(Any, api), counts=counts).check_served()
    assert scraped(counts, "agenttask_api_requests_total") == {("list", "error"): 1}


async def test_no_more_calls_than_the_burst_are_let_through_at_once() -> None:
    api = Api(Answer(status=200))
    cluster = Cluster(cast(Any, api), pace=ClientConnection(qps=0.001, burst=3))
    calls = [asyncio.create_task(cluster.check_served()) for _ in range(5)]
    done, waiting = set(calls[:3]), set(calls[3:])
    await asyncio.gather(*done)
    assert len(api.asked) == 3
    assert not any(call.done() for call in waiting)
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_the_next_call_is_let_through_after_its_share_of_a_second() -> None:
    cluster = Cluster(cast(Any, Api(Answer(status=200))), pace=ClientConnection(qps=50, burst=1))
    begun = asyncio.get_running_loop().time()
    for _ in range(3):
        await cluster.check_served()
    assert asyncio.get_running_loop().time() - begun >= 2 / 50 * 0.9


async def test_a_page_that_a_proxy_sends_in_place_of_an_answer_is_no_answer() -> None:
    with pytest.raises(UnreachableError, match="HTTP 200, and no JSON"):
        await Cluster(cast(Any, Api(Answer(status=200, body=b"<html>Sign in</html>")))).check_served()
