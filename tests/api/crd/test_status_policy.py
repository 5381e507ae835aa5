"""The admission policy on a task's status: who may write, what and when."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import yaml
from agenttask import contract

from tests.api.charts import ROOT, Release
from tests.api.client import APPLY, MERGE, Answer, Client, Object
from tests.api.crd.installed import Caller, Copy

NOT_CURRENT: Final = "only the pod of the current attempt may report on this task"
ENDED: Final = "the task has ended"
NOT_YOURS: Final = "a runner may write only its own fields of the status"

CHECKPOINT: Final[Object] = {"key": "agents/log/000000000001", "seq": 1}
REPORT: Final[Object] = {"checkpoint": CHECKPOINT, "progress": {"step": 1, "display": "1/50"}}

_numbers = itertools.count()


@pytest.fixture(scope="session")
def callers(release: Release, copy: Copy, runner: Caller) -> dict[str, Client]:
    """Everyone who tries.

    The pods of this attempt and of an earlier one, a token bound to no pod, somebody with a right to patch the status,
    and the operator with what the chart gives it.
    """
    return {
        "current": runner.client,
        "older": copy.caller("older").client,
        "unbound": copy.token(service_account=copy.service_account("unbound")),
        "person": copy.person("somebody"),
        "operator": copy.token(service_account=f"{release.name}-agenttask-operator"),
    }


@dataclass(frozen=True, kw_only=True)
class Case:
    """A write by `who` onto a status; `refused` is what the policy says, None where the write is taken."""

    who: str = "current"
    before: Object | None = None
    """The status beside podUID, which is always that of the current pod."""
    patch: Object
    refused: str | None = None


CASES = {
    "the current attempt's pod reports": Case(patch=REPORT),
    "it reports beside what the operator wrote": Case(before={"phase": "Running", "attempt": 1}, patch=REPORT),
    "it may write a result": Case(before={"phase": "Running"}, patch={"result": {"answer": "42", "key": "k"}}),
    "it may write its usage": Case(before={"phase": "Running"}, patch={"usage": {"modelCalls": 1}}),
    "an older attempt's pod is refused": Case(who="older", patch=REPORT, refused=NOT_CURRENT),
    "a token bound to no pod is refused": Case(who="unbound", patch=REPORT, refused=NOT_CURRENT),
    "a right to the status alone is not enough": Case(who="person", patch=REPORT, refused=NOT_CURRENT),
    "a phase is the operator's": Case(patch={**REPORT, "phase": "Completed"}, refused=NOT_YOURS),
    "an attempt is the operator's": Case(before={"attempt": 1}, patch={"attempt": 2}, refused=NOT_YOURS),
    "a pod cannot hand its right on": Case(patch={"podUID": "another"}, refused=NOT_YOURS),
    "a pod cannot take the right away": Case(patch={"podUID": None}, refused=NOT_YOURS),
    "a pod cannot take the status away": Case(patch={}, refused="status is never taken away"),
    "nothing is reported after completion": Case(before={"phase": "Completed"}, patch=REPORT, refused=ENDED),
    "nothing is reported after failure": Case(before={"phase": "Failed"}, patch=REPORT, refused=ENDED),
    "nothing is reported after cancelling": Case(before={"phase": "Cancelled"}, patch=REPORT, refused=ENDED),
    "a task being checkpointed is still reported on": Case(before={"phase": "Checkpointed"}, patch=REPORT),
    "the operator writes whatever it owns": Case(who="operator", patch={"phase": "Running", "podUID": "next"}),
    "the operator writes after the end": Case(who="operator", before={"phase": "Failed"}, patch={"message": "Late."}),
}


@pytest.mark.parametrize("sentence", CASES)
def test_only_the_current_pod_may_report_and_only_its_own_fields(
    copy: Copy, runner: Caller, callers: dict[str, Client], sentence: str
) -> None:
    case = CASES[sentence]
    name = fresh(copy, runner=runner, status=case.before or {})
    answer = write(copy, who=callers[case.who], name=name, patch={"status": case.patch or None})
    said = None if answer.accepted else answer.message
    assert (said is None) == (case.refused is None), said
    if case.refused is not None:
        assert answer.status == 422
        assert case.refused in (said or "")


def test_a_task_without_a_pod_is_reported_on_by_nobody(copy: Copy, runner: Caller) -> None:
    name = f"policy-{next(_numbers)}"
    copy.create(name=name, status={"phase": "Pending"})
    answer = write(copy, who=runner.client, name=name, patch={"status": REPORT})
    assert (answer.status, NOT_CURRENT in answer.message) == (422, True)


def test_a_task_without_a_status_is_reported_on_by_nobody(copy: Copy, runner: Caller) -> None:
    name = f"policy-{next(_numbers)}"
    copy.create(name=name)
    answer = write(copy, who=runner.client, name=name, patch={"status": REPORT})
    assert (answer.status, NOT_CURRENT in answer.message) == (422, True)


def test_a_pod_reports_in_its_own_namespace_only(copy: Copy, runner: Caller) -> None:
    elsewhere = f"{copy.namespace}-other"
    other = Copy(admin=copy.admin, group=copy.group, namespace=elsewhere)
    copy.admin.must("POST", "/api/v1/namespaces", body={"metadata": {"name": elsewhere}})
    try:
        name = fresh(other, runner=runner, status={})
        answer = write(other, who=runner.client, name=name, patch={"status": REPORT})
        assert (answer.status, NOT_CURRENT in answer.message) == (422, True)
    finally:
        copy.admin.send("DELETE", f"/api/v1/namespaces/{elsewhere}")


def test_a_runner_may_touch_nothing_but_the_status(copy: Copy, runner: Caller) -> None:
    name = fresh(copy, runner=runner, status={})
    spec = runner.client.send("PATCH", copy.path(task=name), body={"spec": {"cancel": True}}, content_type=MERGE)
    label = {"metadata": {"labels": {"mine": "yes"}, "finalizers": ["example.com/mine"]}, "status": REPORT}
    through_status = write(copy, who=runner.client, name=name, patch=label)
    assert spec.status == 403
    assert through_status.accepted
    assert not {"labels", "finalizers"} & through_status.body["metadata"].keys()
    assert runner.client.send("GET", copy.path(task=name)).status == 403
    assert runner.client.send("DELETE", copy.path(task=name)).status == 403


def test_a_runner_reports_by_server_side_apply(copy: Copy, runner: Caller) -> None:
    name = fresh(copy, runner=runner, status={"phase": "Running"})
    first = applied(copy, runner=runner, name=name, status={**REPORT, "result": {"answer": "4", "key": "k"}})
    second = applied(copy, runner=runner, name=name, status=REPORT)
    assert first.accepted, first.message
    assert second.accepted, second.message
    # What an apply leaves out is removed, and what another manager wrote stays.
    assert second.body["status"] == {"phase": "Running", "podUID": runner.uid, **REPORT}


def test_every_status_property_is_wholly_the_runners_or_not_at_all(copy: Copy, runner: Caller) -> None:
    done, want = {}, {}
    names: dict[str, str] = {}
    schemas = status_schema()
    for path, schema, required in properties(schemas, at=()):
        top, mine = path[0], path[0] in contract.RUNNER_FIELDS
        whole = example(schemas["properties"][top], 1)
        other = example(schema, 2)
        tried: dict[str, tuple[Object, Object]] = {"remove": ({top: whole}, nested(path, None))}
        if other != example(schema, 1):
            tried["change"] = ({top: whole}, nested(path, other))
        if len(path) == 1:
            tried["set"] = ({}, {top: whole})
        for action, (before, patch) in tried.items():
            # No write takes effect, so one task with that status serves all.
            status = json.dumps(before)
            name = names[status] = names.get(status) or fresh(copy, runner=runner, status=before)
            attempt = f"{action} {'.'.join(path)}"
            done[attempt] = write(copy, who=runner.client, name=name, patch={"status": patch}).accepted
            # The schema keeps what it requires, and a seq never falls: both whoever asks.
            want[attempt] = mine and not (action == "remove" and (required or path == ("checkpoint",)))
    assert done == want
    assert len(done) > 100


def properties(schema: Any, *, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, bool]]:
    """Every property below, with its path and whether it is required; lists are whole."""
    for key, value in schema.get("properties", {}).items():
        yield (*at, key), value, key in schema.get("required", ())
        yield from properties(value, at=(*at, key))


def nested(path: tuple[str, ...], value: Any) -> Object:
    """A patch of one property."""
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def status_schema() -> Any:
    crd = yaml.safe_load((ROOT / "crds/agenttask.yaml").read_text())
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]


def example(schema: Any, which: int) -> Any:  # noqa: PLR0911 - one for each kind of schema
    """One of two different values that the schema takes; no phase that is final."""
    match schema:
        case {"enum": [*values]}:
            return values[(which - 1) % len(values)]
        case {"format": "date-time"}:
            return f"2030-01-01T00:00:0{which}Z"
        case {"type": "integer"}:
            return which
        case {"type": "boolean"}:
            return which == 2  # The first is not the default, so taking it away is a change too.
        case {"type": "string"}:
            return f"Word{which}"
        case {"type": "array", "items": items}:
            return [example(items, which)]
        case {"type": "object", "properties": properties}:
            return {key: example(value, which) for key, value in properties.items()}
    raise AssertionError(f"no example for {schema}")


def fresh(copy: Copy, *, runner: Caller, status: Object) -> str:
    """A task whose current pod is the runner's, with this status besides."""
    name = f"policy-{next(_numbers)}"
    copy.create(name=name, status={"podUID": runner.uid, **status})
    return name


def write(copy: Copy, *, who: Client, name: str, patch: Object) -> Answer:
    """Merge-patch the status, without effect."""
    path = copy.path(task=name, subresource="status")
    return who.send("PATCH", path, body=patch, content_type=MERGE, dryRun="All")


def applied(copy: Copy, *, runner: Caller, name: str, status: Object) -> Answer:
    """Server-side apply as the runner does."""
    body = {"apiVersion": f"{copy.group}/v1alpha1", "kind": "AgentTask", "metadata": {"name": name}, "status": status}
    path = copy.path(task=name, subresource="status")
    return runner.client.send(
        "PATCH", path, body=body, content_type=APPLY, fieldManager=contract.RUNNER_MANAGER, force="true"
    )
