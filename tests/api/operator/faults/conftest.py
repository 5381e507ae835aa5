"""The stage of all runs, and the report of what they came to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.api.crd.installed import Copy
from tests.api.operator.faults.history import History
from tests.api.operator.faults.report import ALL, Report
from tests.api.operator.faults.runs import Stage

collect_ignore = [] if ALL else ["test_weakened_operators.py"]
"""Left to `make test-faults`: each costs all plans of a scenario."""


@pytest.fixture(scope="session")
def history(copy: Copy) -> Iterator[History]:
    """The watches."""
    with History(copy) as made:
        yield made


@pytest.fixture(scope="session")
def stage(copy: Copy, history: History) -> Iterator[Stage]:
    """The stage; the token is the operator's own."""
    token = copy.token(service_account=f"{copy.namespace}-agenttask-operator").token
    assert token is not None
    with copy.admin.keeping() as admin:
        yield Stage(copy=replace(copy, admin=admin), token=token, history=history)


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """Shown when all have run."""
    made = Report()
    yield made
    made.show()
