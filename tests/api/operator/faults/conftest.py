"""The stage of all runs, and the report of what they came to."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.api.crd.installed import Copy
from tests.api.operator.conftest import RESTRICTED
from tests.api.operator.faults.history import History
from tests.api.operator.faults.processes import ProcessStage
from tests.api.operator.faults.report import ALL, Report
from tests.api.operator.faults.runs import Stage
from tests.api.waiting import until

collect_ignore = [] if ALL else ["test_weakened_operators.py"]
"""Left to `make test-faults`: each costs all plans of a scenario."""


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
    """The stage of whole processes: they look after a namespace in which nobody else has tasks."""
    admin, name = stage.copy.admin, f"t{secrets.token_hex(3)}"
    path = f"/api/v1/namespaces/{name}"
    admin.must("POST", "/api/v1/namespaces", body={"metadata": {"name": name, "labels": RESTRICTED}})
    try:
        # Without it no pod is admitted.
        until("there is a service account", lambda: admin.send("GET", f"{path}/serviceaccounts/default").accepted)
        copy = replace(stage.copy, namespace=name)
        with History(copy) as history:
            here = replace(stage, copy=copy, history=history)
            folder = tmp_path_factory.mktemp("operator")
            yield ProcessStage(learnt=stage, here=here, home=stage.copy.namespace, folder=folder)
    finally:
        admin.send("DELETE", path)


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """Shown when all have run."""
    made = Report()
    yield made
    made.show()
