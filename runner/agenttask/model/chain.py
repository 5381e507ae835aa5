"""Which model is asked: the first, until it does not answer, then the next; after a while the first again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agenttask.contract import Fallback, Model, Price
from agenttask.model.failures import Failure, Trouble

SUCCESS_WINDOW: Final = 10
"""Replies from a fallback after which the first model gets another chance."""
SOON: Final = {Trouble.OVERLOADED: 2, Trouble.TIMED_OUT: 2}
"""Tries after which these make leave a model, if there is another: it has no room, or takes too long each time."""
MAX_WAIT_SECONDS: Final = 60.0
"""A Retry-After beyond this is not waited out."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One model of a chain."""

    number: int
    """Its place: 0 is the first."""
    name: str
    endpoint: int
    """Number of the endpoint it stands at."""
    options: Mapping[str, Any]
    price: Price | None


def links_of(model: Model) -> tuple[Link, ...]:
    """The chain, the first model first."""
    chain: tuple[Model | Fallback, ...] = (model, *model.fallbacks)
    return tuple(
        Link(
            number=number,
            name=one.name,
            endpoint=0 if one.base_url is None else number,
            options=one.options,
            price=one.price,
        )
        for number, one in enumerate(chain)
    )


def successor(
    *, links: Sequence[Link], at: Link, failures: Sequence[Failure], max_retries: int, on_trial: bool = False
) -> Link | None:
    """Where to go after these failures of one call, the newest last; None: stay, whatever that means.

    A model that is only `on_trial`, having failed before, is left at its first failure; one that is not the first, for
    any failure that another try cannot help: its key or its name may be wrong, which must not end a task whose first
    model will be back.
    """
    newest = failures[-1]
    following = links[at.number + 1 :]
    if newest.trouble is Trouble.QUOTA:
        # The same endpoint means the same account.
        following = [link for link in following if link.endpoint != at.endpoint]
    elif not newest.passing and at.number == 0:
        return None
    if not following:
        return None
    of_its_kind = sum(failure.trouble is newest.trouble for failure in failures)
    given_up = (
        on_trial
        or not newest.passing
        or (newest.after_seconds or 0) > MAX_WAIT_SECONDS
        or of_its_kind >= SOON.get(newest.trouble, max_retries + 1)
        or len(failures) > max_retries
    )
    return following[0] if given_up else None
