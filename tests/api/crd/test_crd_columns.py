"""What `kubectl get` shows of a task, and by what it can select."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from tests.api.charts import ROOT
from tests.api.client import Object
from tests.api.crd.installed import Copy

TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io"

STATUS: Final[Object] = {
    "phase": "Running",
    "reason": "Working",
    "message": "Attempt 2 is running.",
    "attempt": 2,
    "progress": {"step": 12, "maxSteps": 50, "display": "12/50", "model": "small"},
    "usage": {"totalTokens": 1234, "costUSD": "0.0312"},
    "counts": {"resumes": 1},
    "checkpoint": {"key": "k", "seq": 40, "time": "2020-01-01T00:00:00Z"},
    "attempts": [
        {"attempt": 1, "pod": "columns-1", "node": "one", "start": "2020-01-01T00:00:00Z"},
        {"attempt": 2, "pod": "columns-2", "node": "two", "start": "2020-01-01T00:10:00Z"},
    ],
}


def table(copy: Copy, *, task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns of the plain table, and those that the wide one adds, with the task's cells."""
    shown = copy.admin.send("GET", copy.path(task=task), accept=TABLE).body
    cells = dict(zip((one["name"] for one in shown["columnDefinitions"]), shown["rows"][0]["cells"], strict=True))
    wide = {one["name"] for one in shown["columnDefinitions"] if one["priority"]}
    return (
        {key: value for key, value in cells.items() if key not in wide},
        {key: value for key, value in cells.items() if key in wide},
    )


def test_the_columns_show_where_a_running_task_stands(copy: Copy) -> None:
    copy.create(name="columns", status=STATUS)
    plain, wide = table(copy, task="columns")
    assert list(plain) == ["Name", "Phase", "Step", "Resumes", "Checkpoint", "Cost-USD", "Reason", "Age"]
    assert (plain["Name"], plain["Phase"], plain["Step"], plain["Resumes"]) == ("columns", "Running", "12/50", 1)
    assert re.fullmatch(r"\d+y(\d+d)?", plain["Checkpoint"])  # an age, which is years by now
    assert (plain["Cost-USD"], plain["Reason"]) == ("0.0312", "Working")
    assert wide == {
        "Attempt": 2,
        "Pod": "columns-2",
        "Node": "two",
        "Model": "small",
        "Tokens": 1234,
        "Message": "Attempt 2 is running.",
    }


def test_a_task_nobody_has_seen_yet_has_empty_columns(copy: Copy) -> None:
    copy.create(name="unseen")
    plain, wide = table(copy, task="unseen")
    assert [plain[column] for column in ("Phase", "Step", "Resumes", "Checkpoint", "Reason")] == [None] * 5
    assert set(wide.values()) == {None}


def test_tasks_can_be_selected_by_phase_and_reason(copy: Copy) -> None:
    copy.create(name="selected", status={"phase": "Failed", "reason": "BudgetExhausted"})
    copy.create(name="passed-over", status={"phase": "Failed", "reason": "ModelRefused"})
    selector = "status.phase=Failed,status.reason=BudgetExhausted"
    found = copy.admin.send("GET", copy.path(), fieldSelector=selector)
    assert [one["metadata"]["name"] for one in found.body["items"]] == ["selected"]


def test_short_name_and_category_are_served(copy: Copy) -> None:
    found = copy.admin.must("GET", f"/apis/{copy.group}/v1alpha1")
    task = next(one for one in found["resources"] if one["name"] == "agenttasks")
    assert (task["shortNames"], task["categories"], task["kind"]) == (["agt"], ["agents"], "AgentTask")


def test_what_is_installed_is_what_the_file_says(copy: Copy) -> None:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/agenttasks.{copy.group}"
    served = copy.admin.must("GET", path)["spec"]["versions"]
    text = (ROOT / "crds/agenttask.yaml").read_text().replace("agenttask.dev", copy.group)
    assert served == yaml.safe_load(text)["spec"]["versions"]
