"""The log's protocol, exhaustively on small bounds; and that each of its rules is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model import attached_model, fork_model
from tests.model.check_log import LEFT_OUT, ROOMY, SEARCHES, search, search_attached, search_fork
from tests.model.log_world import Rules, Weakness


@pytest.mark.parametrize("rules", SEARCHES.values(), ids=SEARCHES)
def test_no_order_of_events_breaks_a_promise_of_the_log(rules: Rules) -> None:
    outcome = search(rules)
    assert outcome.broken is None, str(outcome)
    assert outcome.states > 5_000, "the bounds leave room for something to happen"


@pytest.mark.parametrize("weak", Weakness)
def test_a_promise_breaks_when_this_rule_of_the_log_is_left_out(weak: Weakness) -> None:
    rules = ROOMY if weak is Weakness.DELETE_CLAIMS else replace(SEARCHES[LEFT_OUT[weak]], weak=frozenset({weak}))
    assert search(rules).broken is not None, weak


def test_no_order_of_events_leaves_a_fork_without_what_it_names() -> None:
    outcome = search_fork(fork_model.Rules())
    assert outcome.broken is None, str(outcome)


@pytest.mark.parametrize("weak", fork_model.Weakness)
def test_a_promise_breaks_when_this_rule_of_forking_is_left_out(weak: fork_model.Weakness) -> None:
    outcome = search_fork(fork_model.Rules(weak=frozenset({weak})))
    assert outcome.broken is not None, weak


def test_no_order_of_events_leaves_a_record_without_the_content_it_refers_to() -> None:
    outcome = search_attached(attached_model.Rules())
    assert outcome.broken is None, str(outcome)
    assert outcome.states > 5_000, "the bounds leave room for something to happen"


@pytest.mark.parametrize("weak", attached_model.Weakness)
def test_a_promise_breaks_when_this_rule_of_attaching_is_left_out(weak: attached_model.Weakness) -> None:
    outcome = search_attached(attached_model.Rules(weak=frozenset({weak})))
    assert outcome.broken is not None, weak
