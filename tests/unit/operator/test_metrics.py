"""The metrics as defined, as documented, and within their bounds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from agenttask_operator import metrics
from agenttask_operator.fleet import Fleet
from agenttask_operator.metrics import DEFINITIONS, Metrics
from agenttask_operator.reasons import Reason

from tests.unit.operator.scraped import scraped

PAGE = Path(__file__).parents[3] / "docs/metrics.md"


def test_the_page_has_the_table_that_the_definitions_make() -> None:
    assert metrics.as_markdown() in PAGE.read_text()


def test_a_scrape_has_what_is_defined_and_of_the_process_nothing_else() -> None:
    counts = Metrics()
    fleet = Fleet(metrics=counts, clock=lambda: 0.0)
    fleet.leading = True
    for one in DEFINITIONS:
        labels = ["x"] * len(one.labels)
        if one.kind is metrics.Kind.COUNTER:
            counts.count(one, *labels)
        elif one.kind is metrics.Kind.HISTOGRAM:
            counts.observe(one, *labels, value=1)
    told = {line.split()[2] for line in counts.text().decode().splitlines() if line.startswith("# TYPE agenttask_")}
    assert told == {one.name for one in DEFINITIONS}


def test_names_and_labels_follow_prometheus_conventions() -> None:
    for one in DEFINITIONS:
        assert re.fullmatch("agenttask(_[a-z]+)+", one.name)
        assert one.name.endswith("_total") == (one.kind is metrics.Kind.COUNTER), one.name
        assert one.kind is not metrics.Kind.HISTOGRAM or one.name.endswith("_seconds"), "base units"
        assert not re.search("milli|micro|kilo|mega|minutes|gauge|histogram|counter", one.name), one.name
        assert not {"task", "uid", "pod", "name", "le", "job", "instance"} & set(one.labels), (
            "bounded, and not Prometheus' own"
        )


@pytest.mark.parametrize(
    ("reason", "label"),
    {
        "a reason of the operator": (Reason.EVICTED, "Evicted"),
        "a reason of runners": ("ModelDenied", "ModelDenied"),
        "a runner's own invention": ("Because", "other"),
        "none": (None, "other"),
    }.values(),
)
def test_a_reason_that_nobody_knows_makes_no_series(reason: str | None, label: str) -> None:
    assert metrics.reason_label(reason) == label


def test_models_without_end_make_no_series_without_end() -> None:
    counts = Metrics()
    told = [counts.model(namespace="agents", name=f"m{number}") for number in range(metrics.MAX_MODELS + 2)]
    assert told[-3:] == [f"m{metrics.MAX_MODELS - 1}", "other", "other"]
    assert counts.model(namespace="agents", name="m0") == "m0"


def test_a_namespace_that_is_forgotten_has_no_series() -> None:
    counts = Metrics()
    for namespace in ("blue", "red"):
        counts.count(metrics.COST, namespace, counts.model(namespace=namespace, name="small"), by=2)
    counts.forget("blue")
    assert scraped(counts, "agenttask_cost_usd_total") == {("red", "small"): 2}
