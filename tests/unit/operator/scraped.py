"""What a scrape finds, as a test wants to compare it."""

from __future__ import annotations

from agenttask_operator.metrics import DEFINITIONS, Metrics
from prometheus_client.parser import text_string_to_metric_families


def scraped(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The samples of that name, by the values of their labels in the definition's order."""
    families = text_string_to_metric_families(metrics.text().decode())
    samples = (sample for family in families for sample in family.samples)
    order = next(one.labels for one in DEFINITIONS if name.startswith(one.name))
    return {tuple(one.labels[label] for label in order): one.value for one in samples if one.name == name}
