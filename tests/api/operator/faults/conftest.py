"""The stage of all runs, and the report of what they came to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from agenttask_operator import cluster as api_calls

from tests.api.crd.installed import Copy
from tests.api.operator.faults.history import History
from tests.api.operator.faults.processes import ProcessStage, own_place
from tests.api.operator.faults.replicas import ReplicaStage
from tests.api.operator.faults.report import ALL, Report
from tests.api.operator.faults.runs import Stage
from tests.e2e.harness.wait import PATIENCE_SECONDS

collect_ignore = [] if ALL else ["test_weakened_operators.py"]
"""Left to `make test-faults`: each costs all plans of a scenario."""
LEASES_AT_ONCE = 3


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that is held in a request is held for as long as the other one needs, however slow the machine."""
    monkeypatch.setattr(api_calls, "REQUEST_SECONDS", PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def history(copy: Copy) -> Iterator[History]:
    """The watches."""
    with History(copy) as made:
        yield made


@pytest.fixture(scope="session")
def stage(copy: Copy, history: History) -> Stage:
    """The stage; the token is the operator's own."""
    token = copy.token(service_account=f"{copy.namespace}-agenttask-operator").token
    assert token is not None
    return Stage(copy=copy, token=token, history=history)


@pytest.fixture(scope="session")
def process_stage(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStage]:
    """The stage of whole processes."""
    with own_place(stage, folder=tmp_path_factory.mktemp("operator"), made=ProcessStage) as made:
        yield made


@pytest.fixture(scope="session")
def replica_stages(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ReplicaStage]]:
    """Stages of two processes each: most of the time they wait for a lease to end, and so they may wait together."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(own_place(stage, folder=tmp_path_factory.mktemp("operators"), made=ReplicaStage))
            for _ in range(LEASES_AT_ONCE)
        ]


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """Shown when all have run."""
    made = Report()
    yield made
    made.show()
