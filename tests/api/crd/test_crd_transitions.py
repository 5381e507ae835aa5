"""What may become of a task: each rule that compares old and new, with a change it takes and one it refuses."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.api.charts import ROOT
from tests.api.client import MERGE, Object
from tests.api.crd.installed import Copy
from tests.api.crd.test_crd_creation import RULES

S3: Object = {"bucket": "agents", "prefix": "prod", "endpoint": "https://s3.example.com", "region": "eu-west-1"}
PLACE: Object = {"type": "s3", "bucket": "agents", "prefix": "prod"}
CHECKPOINT: Object = {"key": "agents/log/000000000007", "seq": 7}
ORIGIN: Object = {"task": "triage", "uid": "6c1f", "key": "agents/triage/6c1f/log/000000000007", "seq": 7}
_numbers = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Case:
    """Merge patches tried on a task with this spec and status; `says` is the refusal."""

    spec: Object = field(default_factory=dict)
    status: Object = field(default_factory=dict)
    accepted: tuple[Object, ...]
    refused: tuple[Object, ...]
    says: str


def place(**fields: Any) -> Object:
    return {"spec": {"checkpoint": {"s3": fields}}}


def redis(**fields: Any) -> Object:
    return {"spec": {"checkpoint": {"redis": fields}}}


TRANSITIONS = {
    "a prompt may be edited until an attempt was raised": Case(
        status={"attempt": 0},
        accepted=({"spec": {"prompt": "Good bye."}},),
        refused=(),
        says="spec.prompt is immutable once an attempt was raised",
    ),
    "a prompt is immutable from then on": Case(
        status={"attempt": 1},
        accepted=({"spec": {"agent": {"systemPrompt": "Be brief."}}}, {"spec": {"budget": {"steps": 60}}}),
        refused=({"spec": {"prompt": "Good bye."}},),
        says="spec.prompt is immutable once an attempt was raised",
    ),
    "where a prompt is read from is immutable from then on": Case(
        spec={"prompt": None, "promptFrom": {"configMapKeyRef": {"name": "prompts"}}},
        status={"attempt": 1},
        accepted=({"spec": {"budget": {"steps": 60}}},),
        refused=(
            {"spec": {"promptFrom": {"configMapKeyRef": {"name": "others"}}}},
            {"spec": {"promptFrom": {"configMapKeyRef": {"key": "other"}}}},
        ),
        says="spec.promptFrom is immutable once an attempt was raised",
    ),
    "what a fork goes on from may be edited until an attempt was raised": Case(
        spec={"resumeFrom": {"task": "triage"}},
        accepted=({"spec": {"resumeFrom": {"task": "other"}}}, {"spec": {"resumeFrom": None}}),
        refused=(),
        says="spec.resumeFrom is immutable once an attempt was raised",
    ),
    "what a fork goes on from is immutable from then on": Case(
        spec={"resumeFrom": {"task": "triage"}},
        status={"attempt": 1},
        accepted=({"spec": {"suspend": True}},),
        refused=(
            {"spec": {"resumeFrom": {"task": "other"}}},
            {"spec": {"resumeFrom": {"parts": ["Conversation"]}}},
            {"spec": {"resumeFrom": None}},
        ),
        says="spec.resumeFrom is immutable once an attempt was raised",
    ),
    "a command may be edited until an attempt was raised": Case(
        spec={"prompt": None, "command": ["work"]},
        accepted=({"spec": {"command": ["work", "hard"]}},),
        refused=(),
        says="spec.command is immutable once an attempt was raised",
    ),
    "a command is immutable from then on": Case(
        spec={"command": ["work"]},
        status={"attempt": 1},
        accepted=({"spec": {"checkpoint": {"everySeconds": 60}}}, {"spec": {"pod": {"image": "newer"}}}),
        refused=({"spec": {"command": ["work", "hard"]}}, {"spec": {"command": None}}),
        says="spec.command is immutable once an attempt was raised",
    ),
    "an agent that runs becomes no command": Case(
        status={"attempt": 1},
        accepted=({"spec": {"suspend": True}},),
        refused=({"spec": {"command": ["work"]}},),
        says="spec.command is immutable once an attempt was raised",
    ),
    "a running task becomes no fork": Case(
        status={"attempt": 1},
        accepted=({"spec": {"suspend": True}},),
        refused=({"spec": {"resumeFrom": {"task": "triage"}}},),
        says="spec.resumeFrom is immutable once an attempt was raised",
    ),
    "a fork without a prompt gets none later": Case(
        spec={"resumeFrom": {"task": "triage"}, "prompt": None},
        status={"attempt": 1},
        accepted=({"spec": {"suspend": True}},),
        refused=({"spec": {"prompt": "And now?"}},),
        says="spec.prompt is immutable once an attempt was raised",
    ),
    "a checkpoint's place may be edited until an attempt was raised": Case(
        spec={"checkpoint": {"s3": S3}},
        accepted=(place(bucket="others"), {"spec": {"checkpoint": None}}),
        refused=(),
        says="the place in spec.checkpoint is immutable once an attempt was raised",
    ),
    "a checkpoint's place is immutable from then on, its credentials are not": Case(
        spec={"checkpoint": {"s3": S3}},
        status={"attempt": 1},
        accepted=(place(credentialsSecretRef={"name": "rotated"}),),
        refused=(
            place(bucket="others"),
            place(prefix="dev"),
            place(prefix=None),
            place(endpoint="https://s3.example.org"),
            place(endpoint=None),
            place(region="eu-west-2"),
            place(region=None),
            {"spec": {"checkpoint": {"s3": None}}},
            {"spec": {"checkpoint": None}},
        ),
        says="the place in spec.checkpoint is immutable once an attempt was raised",
    ),
    "a Redis store's place is immutable too, how it is used is not": Case(
        spec={"checkpoint": {"redis": {"url": "rediss://redis:6379/0", "prefix": "prod"}}},
        status={"attempt": 1},
        accepted=(redis(ttlSeconds=60, durability={"replicas": 1}), redis(credentialsSecretRef={"name": "rotated"})),
        refused=(redis(url="rediss://redis:6379/1"), redis(prefix=None), {"spec": {"checkpoint": {"redis": None}}}),
        says="the place in spec.checkpoint is immutable once an attempt was raised",
    ),
    "a volume's place is immutable too": Case(
        spec={"checkpoint": {"filesystem": {"claimName": "checkpoints", "path": "prod"}}},
        status={"attempt": 1},
        accepted=({"spec": {"checkpoint": {"verify": "ReadBack", "keepLast": 5, "everySteps": 5}}},),
        refused=(
            {"spec": {"checkpoint": {"filesystem": {"claimName": "others"}}}},
            {"spec": {"checkpoint": {"filesystem": {"path": None}}}},
            {"spec": {"checkpoint": {"filesystem": None}}},
        ),
        says="the place in spec.checkpoint is immutable once an attempt was raised",
    ),
    "how an S3 server is spoken to may be edited at any time": Case(
        spec={"checkpoint": {"s3": S3}},
        status={"attempt": 1},
        accepted=(
            place(addressing="Virtual"),
            place(encryption={"type": "SSE-S3"}),
            place(caConfigMapRef={"name": "cas"}),
        ),
        refused=(),
        says="",
    ),
    "a running task cannot leave the installation's store": Case(
        status={"attempt": 1},
        accepted=({"spec": {"suspend": True}},),
        refused=(place(bucket="agents"),),
        says="the place in spec.checkpoint is immutable once an attempt was raised",
    ),
    "cancelling is one way": Case(
        spec={"cancel": True},
        accepted=({"spec": {"suspend": True}},),
        refused=({"spec": {"cancel": False}}, {"spec": {"cancel": None}}),
        says="spec.cancel cannot be taken back",
    ),
    "suspending is not": Case(
        spec={"suspend": True},
        accepted=({"spec": {"suspend": False}}, {"spec": {"cancel": True}}),
        refused=(),
        says="",
    ),
    "an attempt's number never falls": Case(
        status={"attempt": 3},
        accepted=({"status": {"attempt": 4}}, {"status": {"podUID": "x"}}),
        refused=({"status": {"attempt": 2}},),
        says="status.attempt never falls",
    ),
    "a checkpoint's number never falls": Case(
        status={"checkpoint": CHECKPOINT},
        accepted=({"status": {"checkpoint": {"seq": 8}}},),
        refused=({"status": {"checkpoint": {"seq": 6}}},),
        says="status.checkpoint.seq never falls",
    ),
    "a location is immutable once set": Case(
        status={"location": PLACE},
        accepted=({"status": {"message": "Hello."}},),
        refused=(
            {"status": {"location": {"bucket": "others"}}},
            {"status": {"location": {"credentialsSecret": "stolen"}}},
        ),
        says="status.location is immutable once set",
    ),
    "an origin is immutable once set": Case(
        status={"forkedFrom": ORIGIN},
        accepted=({"status": {"message": "Hello."}},),
        refused=({"status": {"forkedFrom": {"key": "other"}}},),
        says="status.forkedFrom is immutable once set",
    ),
    "what the status must keep is not taken away": Case(
        status={"attempt": 3, "phase": "Running", "location": PLACE, "checkpoint": CHECKPOINT, "forkedFrom": ORIGIN},
        accepted=({"status": {"podUID": "x"}},),
        refused=tuple({"status": {f: None}} for f in ("attempt", "phase", "location", "checkpoint", "forkedFrom")),
        says="status.attempt, phase, location, checkpoint and forkedFrom are never taken away once set",
    ),
    "nor is the status itself": Case(
        status={"phase": "Pending"},
        accepted=({"status": {"message": "Hello."}},),
        refused=({"status": None},),
        says="status is never taken away",
    ),
    "a location may be set": Case(
        status={"attempt": 0}, accepted=({"status": {"location": PLACE, "attempt": 1}},), refused=(), says=""
    ),
    **{
        f"{phase} is final": Case(
            status={"phase": phase},
            accepted=({"status": {"message": "Hello."}},),
            refused=({"status": {"phase": "Running"}},),
            says="a terminal phase never changes",
        )
        for phase in ("Completed", "Failed", "Cancelled")
    },
    "no other phase is final": Case(
        status={"phase": "Checkpointed"}, accepted=({"status": {"phase": "Resuming"}},), refused=(), says=""
    ),
}


@pytest.mark.parametrize("sentence", TRANSITIONS)
def test_a_change_is_refused_only_where_a_rule_forbids_it(copy: Copy, sentence: str) -> None:
    case = TRANSITIONS[sentence]
    name = f"transition-{next(_numbers)}"
    spec = {key: value for key, value in {"prompt": "Hello.", **case.spec}.items() if value is not None}
    copy.create(name=name, spec=spec, status=case.status or None)
    for patch in case.accepted:
        answer = change(copy, name=name, patch=patch)
        assert answer.accepted, (patch, answer.message)
    for patch in case.refused:
        answer = change(copy, name=name, patch=patch)
        assert answer.status == 422, (patch, answer)
        assert case.says in answer.message


def change(copy: Copy, *, name: str, patch: Object) -> Any:
    """Try a merge patch, without its effect, on the status where it has one and else on the task."""
    path = copy.path(task=name, subresource="status" if "status" in patch else None)
    return copy.admin.send("PATCH", path, body=patch, content_type=MERGE, dryRun="All")


def test_every_rule_of_the_crd_has_an_accepted_and_a_refused_example() -> None:
    crd = yaml.safe_load((ROOT / "crds/agenttask.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    shown = {case.says.replace("{group}", "agenttask.dev") for case in RULES.values()}
    shown |= {case.says for case in TRANSITIONS.values() if case.accepted and case.refused}
    assert set(messages(schema)) == shown


def messages(schema: Any) -> list[str]:
    """The message of every rule at any depth."""
    if isinstance(schema, list):
        return [one for item in schema for one in messages(item)]
    if not isinstance(schema, dict):
        return []
    own = [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]
    return own + [one for value in schema.values() for one in messages(value)]
