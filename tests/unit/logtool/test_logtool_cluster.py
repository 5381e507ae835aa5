"""A task of the cluster as a place: its own place, its own keys, and nobody else's."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from agenttask.errors import AgentTaskError, Denied, Misconfigured, NotFound, SpecInvalid, Unavailable
from agenttask.logtool.cluster import Kubectl, of_task
from agenttask.logtool.place import Checkpoint, Place

S3 = {"type": "s3", "bucket": "b", "prefix": "p", "endpoint": "http://s3", "credentialsSecret": "keys"}
MINE = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SESSION_TOKEN": "mine too", "REDIS_PASSWORD": "mine", "HOME": "/me"}


def task(location: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    status = {"location": location, **more.pop("status", {})} if location else {}
    return {"metadata": {"name": "t", "uid": "u"}, "spec": {"prompt": "p", **more}, "status": status}


def secret(**data: str) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}}


KEYS = secret(AWS_ACCESS_KEY_ID="theirs", AWS_SECRET_ACCESS_KEY="secret")


@dataclass
class Cluster:
    """kubectl, as far as it is asked."""

    objects: dict[tuple[str, str], dict[str, Any]]
    stderr: str = ""
    raises: Exception | None = None
    asked: list[Sequence[str]] = field(default_factory=list)

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.asked.append(command)
        if self.raises is not None:
            raise self.raises
        kind, name = command[2:4]
        if self.stderr or (kind, name) not in self.objects:
            missing = f'Error from server (NotFound): {kind} "{name}" not found\n'
            return subprocess.CompletedProcess(command, 1, "", self.stderr or missing)
        return subprocess.CompletedProcess(command, 0, json.dumps(self.objects[kind, name]), "")

    def place(self, *, context: str | None = None, name: str = "t") -> Place:
        kubectl = Kubectl(namespace="ns", context=context, run=self.run)
        return of_task(kubectl=kubectl, namespace="ns", name=name, environment=MINE)


def cluster(made: dict[str, Any], **more: dict[str, Any]) -> Cluster:
    others = {tuple(name.split("_")): one for name, one in more.items()}
    return Cluster({("agenttasks.agenttask.dev", "t"): made, **others})  # type: ignore[dict-item]


def test_place_and_keys_are_the_tasks_own_and_this_machines_keys_stay_out_of_it() -> None:
    place = cluster(task(S3), secret_keys=KEYS).place()
    assert (place.path, place.location.bucket) == ("p/ns/t/u", "b")
    assert place.environment == {"HOME": "/me", "AWS_ACCESS_KEY_ID": "theirs", "AWS_SECRET_ACCESS_KEY": "secret"}
    assert "theirs" not in repr(place)


def test_without_a_secret_a_bucket_is_opened_by_this_machines_own_chain() -> None:
    location = {name: value for name, value in S3.items() if name != "credentialsSecret"}
    assert cluster(task(location)).place().environment == MINE


def test_a_redis_without_a_login_is_sent_no_password_of_this_machine() -> None:
    place = cluster(task({"type": "redis", "endpoint": "redis://r:6379/0", "prefix": "p"})).place()
    assert place.environment == {"HOME": "/me"}


def test_keys_and_certificates_that_were_edited_since_are_followed_as_the_next_attempt_would() -> None:
    edited = {"bucket": "b", "prefix": "p", "endpoint": "https://s3", "credentialsSecretRef": {"name": "new"}}
    made = task(
        {**S3, "endpoint": "https://s3"}, checkpoint={"s3": {**edited, "caConfigMapRef": {"name": "cas", "key": "k"}}}
    )
    asked = cluster(made, secret_new=KEYS, configmap_cas={"data": {"k": "PEM"}})
    assert asked.place().environment["AGENTTASK_STORE_CA"] == "PEM"
    assert [command[2:4] for command in asked.asked] == [
        ["agenttasks.agenttask.dev", "t"],
        ["secret", "new"],
        ["configmap", "cas"],
    ]


def test_what_status_and_spec_say_of_the_log_comes_along() -> None:
    checkpoint = {"key": "k", "seq": 7, "digest": "d", "step": 3, "id": "7-d"}
    made = task(S3, status={"checkpoint": checkpoint}, checkpoint={"keepLast": 5})
    known = cluster(made, secret_keys=KEYS).place().task
    assert known is not None
    assert (known.keep_last, known.checkpoint) == (5, Checkpoint(key="k", seq=7, digest="d"))


def test_kubectl_is_asked_in_the_namespace_and_context_that_were_named() -> None:
    asked = cluster(task(S3), secret_keys=KEYS)
    asked.place(context="prod")
    assert all({"--namespace=ns", "--context=prod", "--output=json"} <= set(command) for command in asked.asked)


VOLUME = {"type": "filesystem", "claimName": "disk", "path": "agents"}
REFUSED: dict[str, tuple[Cluster, type[AgentTaskError], str]] = {
    "there is no such task": (Cluster({}), NotFound, "not found"),
    "no attempt has begun": (cluster(task(None)), NotFound, "no log yet"),
    "its Secret is gone": (cluster(task(S3)), NotFound, "kubectl get secret keys"),
    "its Secret lacks a key": (
        cluster(task(S3), secret_keys=secret(AWS_ACCESS_KEY_ID="x")),
        Misconfigured,
        "has no AWS_SECRET_ACCESS_KEY",
    ),
    "its ConfigMap lacks the key": (
        cluster(task({**S3, "caConfigMap": {"name": "cas", "key": "k"}}), secret_keys=KEYS, configmap_cas={}),
        Misconfigured,
        "the ConfigMap cas has no k",
    ),
    "its log lies on a volume": (
        cluster(task(VOLUME)),
        Misconfigured,
        "claim disk, which is not on this machine. Where it is mounted, as in a runner's pod (kubectl exec), say: "
        "agenttask log … /var/lib/agenttask/store/agents/ns/t/u",
    ),
    "kubectl is not there": (Cluster({}, raises=FileNotFoundError()), Misconfigured, "STORE-URL"),
    "kubectl hangs": (Cluster({}, raises=subprocess.TimeoutExpired("kubectl", 30)), Unavailable, "did not answer"),
    "the cluster is down": (
        Cluster({}, stderr="The connection to the server h:6443 was refused - did you specify the right host?"),
        Unavailable,
        "was refused",
    ),
    "this person may not": (
        Cluster({}, stderr='Error from server (Forbidden): agenttasks "t" is forbidden'),
        Denied,
        "forbidden",
    ),
    "this person is nobody": (Cluster({}, stderr="error: You must be logged in to the server"), Denied, "logged in"),
    "the context is wrong": (Cluster({}, stderr='error: context "x" does not exist'), Misconfigured, "context"),
    "the task is of a version this one cannot read": (
        cluster({**task(S3), "spec": {"prompt": 3}}),
        SpecInvalid,
        "version",
    ),
}


@pytest.mark.parametrize(("asked", "kind", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_had_is_named(asked: Cluster, kind: type[AgentTaskError], words: str) -> None:
    with pytest.raises(kind) as error:
        asked.place()
    assert words in str(error.value)


@pytest.mark.parametrize("name", ["--all-namespaces", "a/b", ""])
def test_a_name_that_kubectl_would_take_for_something_else_is_not_passed_on(name: str) -> None:
    asked = Cluster({})
    with pytest.raises(SpecInvalid):
        asked.place(name=name)
    assert asked.asked == []
