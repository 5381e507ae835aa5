"""Who owns what of a status: each part as a whole, and each condition and attempt by itself."""

from __future__ import annotations

from typing import Any

from tests.api.client import APPLY, Object
from tests.api.crd.installed import Copy

TIME = "2026-11-30T00:00:00Z"


def condition(kind: str) -> Object:
    return {"type": kind, "status": "True", "lastTransitionTime": TIME, "reason": "Told", "message": "So it is."}


def apply(copy: Copy, *, name: str, manager: str, status: Object) -> Any:
    """Apply a status as one manager; the task as it is then."""
    body = {"apiVersion": f"{copy.group}/v1alpha1", "kind": "AgentTask", "status": status}
    path = copy.path(task=name, subresource="status")
    return copy.admin.must("PATCH", path, body=body, content_type=APPLY, fieldManager=manager, force="true")


def test_a_part_of_the_status_is_one_field_of_its_writer(copy: Copy) -> None:
    copy.create(name="owned")
    status = {
        "counts": {"resumes": 1, "failures": 2},
        "attempts": [{"attempt": 1, "pod": "owned-1", "start": TIME}],
        "conditions": [condition("Running")],
    }
    task = apply(copy, name="owned", manager="one", status=status)
    (owner,) = [each for each in task["metadata"]["managedFields"] if each["manager"] == "one"]
    assert owner["fieldsV1"]["f:status"] == {
        "f:counts": {},
        "f:attempts": {'k:{"attempt":1}': {}},
        "f:conditions": {'k:{"type":"Running"}': {}},
    }


def test_what_a_writer_leaves_out_of_a_part_is_gone_and_others_conditions_stay(copy: Copy) -> None:
    copy.create(name="shared")
    apply(copy, name="shared", manager="other", status={"conditions": [condition("example.com/Seen")]})
    apply(
        copy,
        name="shared",
        manager="one",
        status={"counts": {"resumes": 1, "failures": 2}, "conditions": [condition("Running"), condition("Stalled")]},
    )
    task = apply(
        copy, name="shared", manager="one", status={"counts": {"resumes": 1}, "conditions": [condition("Running")]}
    )
    assert task["status"]["counts"] == {"resumes": 1}
    assert {each["type"] for each in task["status"]["conditions"]} == {"example.com/Seen", "Running"}
