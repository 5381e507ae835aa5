"""What a model call cost: tokens → US dollars.

The task's own price counts first, then what the endpoint says it charged, then the public list of genai-prices as the
runner was built with it; nothing is fetched. What has no price has none: that is not the same as nothing.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Final

from agenttask.agent.events import Tokens
from agenttask.contract import Price
from agenttask.model.wire import MAX_TOKENS, Reply

MILLION: Final = Decimal(1_000_000)


class PriceList:
    """The public list, read once: that takes half a second, in the time the first reply takes to come."""

    def prepare(self) -> None:
        """Begin to read it."""
        asyncio.get_running_loop().run_in_executor(None, _read)

    async def cost(self, *, reply: Reply, model: str, base_url: str, price: Price | None) -> Decimal | None:
        """Of one reply of `model`, as it was asked for at `base_url`; None if nobody knows."""
        if price is not None:
            return cost_at(price, reply.tokens)
        if reply.cost_usd is not None:
            return reply.cost_usd
        return await asyncio.to_thread(_listed, reply.tokens, (model, reply.model), base_url)

    async def affordable(
        self, *, left_usd: Decimal, prompt_tokens: int, model: str, base_url: str, price: Price | None
    ) -> int | None:
        """How many tokens of a reply so much money pays for, the request of so many tokens paid; None: nobody knows."""

        async def cost(completion: int) -> Decimal | None:
            tokens = Tokens(prompt=prompt_tokens, completion=completion)
            reply = Reply(message={}, finish_reason="", tokens=tokens, model=model)
            return await self.cost(reply=reply, model=model, base_url=base_url, price=price)

        request, with_million = await cost(0), await cost(int(MILLION))
        if request is None or with_million is None:
            return None
        if (million := with_million - request) <= 0:
            return MAX_TOKENS
        return min(max(0, int((left_usd - request) * MILLION / million)), MAX_TOKENS)


def cost_at(price: Price, tokens: Tokens) -> Decimal:
    """What so many tokens cost at this price."""
    cached = price.input if price.cached_input is None else price.cached_input
    fresh = tokens.prompt - tokens.cached
    return (fresh * price.input + tokens.cached * cached + tokens.completion * price.output) / MILLION


def _read() -> None:
    _listed(Tokens(prompt=0, completion=0), ("",), "")


def _listed(tokens: Tokens, names: tuple[str, ...], base_url: str) -> Decimal | None:
    from genai_prices import Usage, calc_price  # noqa: PLC0415 - see the class

    usage = Usage(input_tokens=tokens.prompt, cache_read_tokens=tokens.cached, output_tokens=tokens.completion)
    for name in names:
        # A gateway that the list does not know charges what the model's maker does, or says so in the task.
        for address in (base_url, None):
            try:
                return calc_price(usage, model_ref=name, provider_api_url=address).total_price
            except (LookupError, ValueError):
                continue
    return None
