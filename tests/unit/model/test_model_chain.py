"""Which model is asked, and how long it may take to begin."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from agenttask.contract import Fallback, Model
from agenttask.model.chain import links_of, successor
from agenttask.model.failures import Failure, Trouble
from agenttask.model.latency import first_token_seconds

MODEL = Model(
    base_url="https://a.test/v1",
    name="first",
    fallbacks=(Fallback(name="second"), Fallback(name="third", base_url="https://b.test/v1")),
)


def failures(*troubles: Trouble, after_seconds: float | None = None) -> list[Failure]:
    return [Failure(trouble=trouble, message="m", after_seconds=after_seconds) for trouble in troubles]


@dataclass(frozen=True, kw_only=True)
class Case:
    met: list[Failure]
    want: str | None
    at: int = 0
    on_trial: bool = False
    model: Model = field(default=MODEL)


CASES = {
    "one overload is waited out": Case(met=failures(Trouble.OVERLOADED), want=None),
    "a second one is enough": Case(met=failures(Trouble.OVERLOADED, Trouble.OVERLOADED), want="second"),
    "and so is a second time-out": Case(met=failures(Trouble.TIMED_OUT, Trouble.TIMED_OUT), want="second"),
    "a model on trial is left at its first failure": Case(met=failures(Trouble.BROKEN), want="second", on_trial=True),
    "but stays what it is where there is no other": Case(
        met=failures(Trouble.BROKEN), want=None, on_trial=True, model=Model(base_url="https://a.test", name="a")
    ),
    "other failures get all their tries": Case(met=failures(*[Trouble.BROKEN] * 3), want=None),
    "and then the next model has its turn": Case(met=failures(*[Trouble.BROKEN] * 4), want="second"),
    "failures of many kinds count together": Case(
        met=failures(Trouble.BROKEN, Trouble.RATE_LIMITED, Trouble.BROKEN, Trouble.TIMED_OUT), want="second"
    ),
    "a rate limit is waited out as told": Case(met=failures(Trouble.RATE_LIMITED, after_seconds=30), want=None),
    "but not for ever": Case(met=failures(Trouble.RATE_LIMITED, after_seconds=3600), want="second"),
    "a used-up account is the same under the same address": Case(met=failures(Trouble.QUOTA), want="third"),
    "and there may be no other": Case(
        met=failures(Trouble.QUOTA), want=None, model=Model(base_url="https://a.test", name="a")
    ),
    "a wrong key of the first model is for a person to see": Case(met=failures(Trouble.DENIED), want=None),
    "a bad request stays one": Case(met=failures(Trouble.REFUSED), want=None),
    "a wrong key of a fallback is passed over": Case(met=failures(Trouble.DENIED), at=1, want="third"),
    "behind the last there is none": Case(met=failures(*[Trouble.BROKEN] * 4), at=2, want=None),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_which_model_comes_next(case: Case) -> None:
    links = links_of(case.model)
    got = successor(links=links, at=links[case.at], failures=case.met, max_retries=3, on_trial=case.on_trial)
    assert (got.name if got else None) == case.want


LATENCIES: dict[str, tuple[list[int], float]] = {
    "the base before anything was measured": ([], 60),
    "the base for quick models": ([1_000] * 100, 60),
    "twice the mean and ten seconds for slow ones": ([30_000, 50_000], 90),
    "never more than the most": ([200_000], 300),
    "a time-out counts with the time it was given, so the next try gets more": ([60_000], 130),
}


@pytest.mark.parametrize(("latencies", "want"), LATENCIES.values(), ids=LATENCIES.keys())
def test_the_first_token_s_deadline_adapts_to_measured_latency(latencies: list[int], want: float) -> None:
    assert first_token_seconds(latencies) == want
