"""What a call costs."""

from __future__ import annotations

from decimal import Decimal

from agenttask.agent.events import Tokens
from agenttask.contract import Price
from agenttask.model.prices import PriceList
from agenttask.model.wire import MAX_TOKENS, Reply

TOKENS = Tokens(prompt=1_000_000, cached=400_000, completion=100_000, reasoning=50_000)
GATEWAY = "https://gateway.test/v1"


def reply(*, model: str = "m", charged: Decimal | None = None) -> Reply:
    return Reply(message={}, finish_reason="stop", tokens=TOKENS, model=model, cost_usd=charged)


async def cost(model: str, *, of: Reply, price: Price | None = None, base_url: str = GATEWAY) -> Decimal | None:
    return await PriceList().cost(reply=of, model=model, base_url=base_url, price=price)


async def test_the_task_s_own_price_counts_before_all_others() -> None:
    price = Price(input=Decimal("2"), cached_input=Decimal("0.5"), output=Decimal("8"))
    assert await cost("gpt-4.1", of=reply(charged=Decimal(9)), price=price) == Decimal("2.2")


async def test_without_a_price_of_their_own_cached_tokens_cost_what_others_do() -> None:
    assert await cost("m", of=reply(), price=Price(input=Decimal(2), output=Decimal(8))) == Decimal("2.8")


async def test_what_the_endpoint_charged_counts_before_the_list() -> None:
    assert await cost("gpt-4.1", of=reply(charged=Decimal("0.5"))) == Decimal("0.5")


async def test_a_gateway_charges_what_the_model_s_maker_does() -> None:
    listed = await cost("gpt-4.1", of=reply(), base_url="https://api.openai.com/v1")
    assert listed is not None
    assert listed > 0
    assert await cost("gpt-4.1", of=reply()) == listed


async def test_the_whole_default_chain_has_prices() -> None:
    for name in ("deepseek-v3.2", "gpt-4.1", "claude-sonnet-4.5"):
        assert await cost(name, of=reply()) is not None


async def test_a_model_under_a_name_of_its_own_may_report_the_one_it_is_known_by() -> None:
    assert await cost("prod-large", of=reply(model="gpt-4.1-2025-04-14")) is not None


async def test_a_model_nobody_knows_has_no_price_and_that_is_not_nothing() -> None:
    assert await cost("m", of=reply()) is None


async def affordable(left: str, *, price: Price | None, model: str = "m", prompt: int = 1000) -> int | None:
    return await PriceList().affordable(
        left_usd=Decimal(left), prompt_tokens=prompt, model=model, base_url=GATEWAY, price=price
    )


async def test_what_is_left_pays_for_the_request_first_and_then_for_the_reply() -> None:
    price = Price(input=Decimal(1), output=Decimal(2))
    assert await affordable("0.003", price=price) == 1000
    assert await affordable("0.001", price=price) == 0
    assert await affordable("0.0005", price=price) == 0


async def test_replies_that_cost_nothing_may_be_as_long_as_they_like() -> None:
    assert await affordable("0", price=Price(input=Decimal(0), output=Decimal(0))) == MAX_TOKENS


async def test_the_list_says_what_is_affordable_too_and_of_a_model_nobody_knows_nothing_is_said() -> None:
    assert (await affordable("1", price=None, model="gpt-4.1") or 0) > 1000
    assert await affordable("1", price=None) is None
