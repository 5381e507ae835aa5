"""Sends one conversation, waits, tries again where that can help, and gives the whole reply or says why there is none.

Nothing here is durable: a reply, or the switch to another model, counts once the caller has appended it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, Final, Protocol, TypeAlias

import httpx

from agenttask.agent.budget import SMALLEST_REPLY
from agenttask.agent.events import Try
from agenttask.clock import Clock
from agenttask.contract import Model, Price, RunnerReason, endpoints_of
from agenttask.model.chain import MAX_WAIT_SECONDS, SUCCESS_WINDOW, Link, links_of, successor
from agenttask.model.endpoint import Deadlines, ModelEndpoint, Received
from agenttask.model.failures import REASONS, Failure, ModelError, Trouble
from agenttask.model.latency import first_token_seconds
from agenttask.model.prices import PriceList
from agenttask.model.wire import Reply, addressed

MAX_BACKOFF_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What the model is asked, and what the run knows of its models."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    link: int = 0
    """Place in the chain of the model in use."""
    model: str = ""
    """Its name; empty before the first reply."""
    replies: int = 0
    """How many came since it is in use."""
    returns: bool = False
    """Whether it is the first one again, and has not answered since."""
    author: str = ""
    """The model whose replies are those that name nobody else."""
    max_tokens: int | None = None
    """What the reply may have at most."""
    tool_choice: str | None = None
    """As the API has it; None: as the model sees fit."""
    left_usd: Decimal | None = None
    """What the call may cost at most; None: whatever it costs."""
    prompt_tokens: int = 0
    """About how many tokens the request has."""
    latencies_ms: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """By model: how long first tokens took, and tries that ran into their deadline."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A reply, and what it took to get it."""

    reply: Reply
    asked: str
    """The model's name as it was asked for."""
    ms: int
    first_ms: int
    cost_usd: Decimal | None
    """None: nobody knows."""
    failed: tuple[Try, ...]


@dataclass(frozen=True, kw_only=True)
class Switched:
    """No reply, but another model to ask from now on."""

    link: int
    model: str
    why: str
    failed: tuple[Try, ...] = ()


Outcome: TypeAlias = Answered | Switched


class Prices(Protocol):
    """Someone who knows what a reply cost."""

    def prepare(self) -> None:
        """Get ready, without keeping anybody waiting."""
        ...

    async def cost(self, *, reply: Reply, model: str, base_url: str, price: Price | None) -> Decimal | None:
        """US dollars, or None if it cannot be known."""
        ...

    async def affordable(
        self, *, left_usd: Decimal, prompt_tokens: int, model: str, base_url: str, price: Price | None
    ) -> int | None:
        """How many tokens of a reply so much pays for, or None if it cannot be known."""
        ...


class ModelClient:
    """A model and its fallbacks."""

    def __init__(
        self,
        *,
        model: Model,
        secrets: Mapping[str, str],
        clock: Clock,
        random: Random,
        sleep: Callable[[float], Awaitable[None]],
        on_retry: Callable[[str, Failure, float], None],
        transport: httpx.AsyncBaseTransport | None = None,
        deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
        prices: Prices | None = None,
    ) -> None:
        """`secrets` holds keys and certificates under the names of the contract.

        `sleep` waits between tries and may raise to end the call; `on_retry` hears of each failure and its wait.
        """
        self._links = links_of(model)
        self._max_retries = model.max_retries
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._on_retry = on_retry
        self._prices = prices or PriceList()
        self._prepared = all(link.price is not None for link in self._links)
        self._endpoints = {
            endpoint.number: ModelEndpoint(
                endpoint=endpoint,
                api_key=secrets.get(endpoint.key_env),
                certificates=secrets.get(endpoint.ca_env),
                clock=clock,
                deadlines=deadlines,
                transport=transport,
            )
            for endpoint in endpoints_of(model)
        }

    async def close(self) -> None:
        """Drops the connections."""
        for endpoint in self._endpoints.values():
            await endpoint.close()

    async def call(self, ask: Ask) -> Outcome:
        """One reply, or the switch to another model. Raises `ModelError` if there is neither."""
        at = self._links[min(ask.link, len(self._links) - 1)]
        if ask.link and (ask.model, ask.link) != (at.name, at.number):
            return self._to_first("the task's models were edited")
        if ask.link and ask.replies >= SUCCESS_WINDOW:
            return self._to_first("it gets another chance")
        return await self._tries(ask, at)

    async def _tries(self, ask: Ask, at: Link) -> Outcome:
        if not self._prepared:
            self._prepared = True
            self._prices.prepare()
        endpoint = self._endpoints[at.endpoint]
        messages = addressed(ask.messages, model=at.name, author=ask.author)
        max_tokens = await self._limit(ask, at)
        latencies = list(ask.latencies_ms.get(at.name, ()))
        failures: list[Failure] = []
        failed: list[Try] = []
        while True:
            begun = self._clock.monotonic()
            outcome = await endpoint.ask(
                model=at.name,
                messages=messages,
                tools=ask.tools,
                options=at.options,
                max_tokens=max_tokens,
                tool_choice=ask.tool_choice,
                first_token_seconds=first_token_seconds(latencies),
            )
            ms = round((self._clock.monotonic() - begun) * 1000)
            if isinstance(outcome, Received):
                return await self._answered(outcome, at=at, ms=ms, failed=tuple(failed))
            failures.append(outcome)
            failed.append(_try(outcome, at=at, ms=ms))
            if outcome.trouble is Trouble.TIMED_OUT:
                latencies.append(ms)
            link = successor(
                links=self._links,
                at=at,
                failures=failures,
                max_retries=self._max_retries,
                on_trial=ask.returns,
            )
            if link is not None:
                why = f"{at.name}: {outcome.message}"
                return Switched(link=link.number, model=link.name, why=why, failed=tuple(failed))
            wait = self._wait(outcome, failures=len(failures))
            if not outcome.passing or len(failures) > self._max_retries or wait > MAX_WAIT_SECONDS:
                raise self._given_up(failures, at=at, wait=wait, failed=tuple(failed))
            self._on_retry(at.name, outcome, wait)
            await self._sleep(wait)

    async def _limit(self, ask: Ask, at: Link) -> int | None:
        """How long the reply may be. Raises `ModelError` if money is limited and nobody knows what a reply costs."""
        if ask.left_usd is None:
            return ask.max_tokens
        affordable = await self._prices.affordable(
            left_usd=ask.left_usd,
            prompt_tokens=ask.prompt_tokens,
            model=at.name,
            base_url=self._endpoints[at.endpoint].base_url,
            price=at.price,
        )
        if affordable is None:
            words = f"nobody knows what {at.name} costs, and the task's money is limited: give it a price"
            tried = Try(model=at.name, message=words, ms=0)
            raise ModelError(reason=RunnerReason.COST_UNKNOWN, message=words, failed=(tried,))
        return max(SMALLEST_REPLY, affordable if ask.max_tokens is None else min(affordable, ask.max_tokens))

    async def _answered(self, received: Received, *, at: Link, ms: int, failed: tuple[Try, ...]) -> Answered:
        reply = received.reply
        base_url = self._endpoints[at.endpoint].base_url
        return Answered(
            reply=reply,
            asked=at.name,
            ms=ms,
            first_ms=received.first_ms,
            cost_usd=await self._prices.cost(reply=reply, model=at.name, base_url=base_url, price=at.price),
            failed=failed,
        )

    def _wait(self, failure: Failure, *, failures: int) -> float:
        backoff = min(4.0 ** (failures - 1), MAX_BACKOFF_SECONDS) * self._random.uniform(0.5, 1.0)
        return backoff if failure.after_seconds is None else max(failure.after_seconds, backoff / 4)

    def _given_up(self, failures: Sequence[Failure], *, at: Link, wait: float, failed: tuple[Try, ...]) -> ModelError:
        newest = failures[-1]
        words = newest.message
        if newest.passing:
            tries = "1 try" if len(failures) == 1 else f"{len(failures)} tries"
            asked = f"asks to wait {wait:.0f} s" if wait > MAX_WAIT_SECONDS else f"no reply in {tries}"
            words = f"{asked}; {words}"
        reason = REASONS[newest.trouble]
        after = newest.after_seconds if newest.trouble is Trouble.QUOTA or wait > MAX_WAIT_SECONDS else None
        if at.number and not newest.passing and newest.trouble is not Trouble.QUOTA:
            # It stands in for a model that is away: what is wrong with it must not look like the end of the task.
            reason = RunnerReason.MODEL_UNAVAILABLE
        if len(self._links) > 1:
            words = f"{at.name}: {words}"
        words = f"{self._endpoints[at.endpoint].shown}: {words}"
        return ModelError(reason=reason, message=words, failed=failed, after_seconds=after)

    def _to_first(self, why: str) -> Switched:
        return Switched(link=0, model=self._links[0].name, why=why)


def _try(failure: Failure, *, at: Link, ms: int) -> Try:
    return Try(
        model=at.name,
        message=failure.message,
        ms=ms,
        timed_out=failure.trouble is Trouble.TIMED_OUT,
        tokens=failure.tokens,
    )
