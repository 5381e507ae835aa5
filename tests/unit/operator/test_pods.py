"""The runner pod: the whole manifest of a plain task, and what each kind of wish changes in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agenttask import contract
from agenttask_operator import pods
from agenttask_operator.observed import ANNOTATION_DIGEST, Task, Waking

from tests.unit.operator.builders import BARE, LOCATION, NOW, SETTINGS, UID, checkpoint, digest_of, entry, status, task


def rendered(of: Task, *, attempt: int = 1) -> dict[str, Any]:
    return pods.render(task=of, plan=pods.plan(task=of, settings=SETTINGS), settings=SETTINGS, attempt=attempt)


def assignment(manifest: dict[str, Any]) -> contract.Assignment:
    text = manifest["metadata"]["annotations"][contract.ANNOTATION_ASSIGNMENT]
    return msgspec.json.decode(text, type=contract.Assignment)


def env(manifest: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in manifest["spec"]["containers"][0]["env"]}


def secret(name: str, key: str, **more: bool) -> dict[str, Any]:
    return {"secretKeyRef": {"name": name, "key": key, **more}}


def test_the_pod_of_a_plain_task() -> None:
    plain = task(status=status(entry(2)), checkpoint=checkpoint(seq=9))
    manifest = rendered(plain, attempt=2)
    told = assignment(manifest)
    assert told == contract.Assignment(
        contract=contract.CONTRACT,
        namespace="agents",
        name="triage",
        uid=UID,
        attempt=2,
        location=LOCATION,
        spec=contract.TaskSpec(prompt="Summarise.", agent=contract.Agent(model=SETTINGS.model)),
        recorded_key=f"agents/triage/{UID}/log/000000000009",
        recorded_seq=9,
        unreported=(),
    )
    annotations = manifest["metadata"].pop("annotations")
    assert annotations.keys() == {
        contract.ANNOTATION_ASSIGNMENT,
        ANNOTATION_DIGEST,
        "cluster-autoscaler.kubernetes.io/safe-to-evict",
    }
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "true"
    assert manifest == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "triage-2",
            "namespace": "agents",
            "labels": {
                "app.kubernetes.io/name": "agenttask-runner",
                "app.kubernetes.io/managed-by": "agenttask-operator",
                "agenttask.dev/task": "triage",
                "agenttask.dev/attempt": "2",
            },
            "ownerReferences": [
                {
                    "apiVersion": "agenttask.dev/v1alpha1",
                    "kind": "AgentTask",
                    "name": "triage",
                    "uid": UID,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [
                {
                    "key": f"node.kubernetes.io/{taint}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 30,
                }
                for taint in ("not-ready", "unreachable")
            ],
            "containers": [
                {
                    "name": "runner",
                    "image": "registry.example/runner:1",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["agenttask", "attempt"],
                    "env": [
                        {"name": "AGENTTASK_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                        {"name": "AGENTTASK_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "AGENTTASK_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                        {"name": "AGENTTASK_GRACE_SECONDS", "value": "30"},
                        {"name": "AGENTTASK_MODEL_API_KEY", "valueFrom": secret("model-key", "api-key")},
                        {"name": "AWS_ACCESS_KEY_ID", "valueFrom": secret("store-key", "AWS_ACCESS_KEY_ID")},
                        {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": secret("store-key", "AWS_SECRET_ACCESS_KEY")},
                        {
                            "name": "AWS_SESSION_TOKEN",
                            "valueFrom": secret("store-key", "AWS_SESSION_TOKEN", optional=True),
                        },
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": [
                        {"name": "agenttask-assignment", "mountPath": "/etc/agenttask", "readOnly": True},
                        {"name": "agenttask-token", "mountPath": "/var/run/secrets/agenttask", "readOnly": True},
                        {"name": "agenttask-tmp", "mountPath": "/tmp"},
                    ],
                }
            ],
            "volumes": [
                {
                    "name": "agenttask-assignment",
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "assignment.json",
                                "fieldRef": {"fieldPath": "metadata.annotations['agenttask.dev/assignment']"},
                            }
                        ]
                    },
                },
                {
                    "name": "agenttask-token",
                    "projected": {
                        "sources": [
                            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                            {
                                "configMap": {
                                    "name": "kube-root-ca.crt",
                                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                                }
                            },
                        ]
                    },
                },
                {"name": "agenttask-tmp", "emptyDir": {}},
            ],
        },
    }


def test_what_the_user_wants_of_the_pod_is_laid_over_it() -> None:
    wish: dict[str, Any] = {
        "image": "mine:1",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "pull"}],
        "labels": {"team": "a", "agenttask.dev/attempt": "99"},
        "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        "resources": {"limits": {"memory": "1Gi"}},
        "env": [{"name": "MINE", "value": "1"}, {"name": "AGENTTASK_GRACE_SECONDS", "value": "9999"}],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp/"}],
        "nodeSelector": {"disk": "fast"},
        "affinity": {"nodeAffinity": {}},
        "tolerations": [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 600}],
        "topologySpreadConstraints": [],
        "priorityClassName": "low",
        "serviceAccountName": "agent",
        "runtimeClassName": "gvisor",
        "securityContext": {"runAsUser": 1000},
        "terminationGracePeriodSeconds": 120,
    }
    manifest = rendered(task(spec={"pod": wish}))
    spec, container = manifest["spec"], manifest["spec"]["containers"][0]
    assert (container["image"], container["imagePullPolicy"]) == ("mine:1", "Always")
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert manifest["metadata"]["labels"]["team"] == "a"
    assert manifest["metadata"]["labels"]["agenttask.dev/attempt"] == "1"
    assert manifest["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert container["resources"] == {"limits": {"memory": "1Gi"}}
    assert container["envFrom"] == [{"configMapRef": {"name": "settings"}}]
    assert env(manifest)["MINE"]["value"] == "1"
    assert [one["value"] for one in container["env"] if one["name"] == "AGENTTASK_GRACE_SECONDS"] == ["120"]
    assert spec["volumes"][0] == {"name": "scratch", "emptyDir": {}}
    assert [one["mountPath"] for one in container["volumeMounts"]].count("/tmp") == 0
    assert [one.get("tolerationSeconds") for one in spec["tolerations"]] == [600, 30]
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["terminationGracePeriodSeconds"] == 120
    passed = ("nodeSelector", "affinity", "priorityClassName", "serviceAccountName", "runtimeClassName")
    assert {key: spec[key] for key in passed} == {key: wish[key] for key in passed}


def test_each_endpoint_of_a_model_has_its_own_key_and_certificates_and_a_fallback_without_one_has_none() -> None:
    model = {
        "baseURL": "https://a.example/v1",
        "name": "small",
        "apiKeySecretRef": {"name": "a"},
        "fallbacks": [
            {"name": "large"},
            {
                "name": "other",
                "baseURL": "https://b.example/v1",
                "apiKeySecretRef": {"name": "b", "key": "k"},
                "caConfigMapRef": {"name": "roots"},
            },
            {"name": "open", "baseURL": "http://c.example/v1"},
        ],
    }
    found = env(rendered(task(spec={"agent": {"model": model}})))
    assert {name: one["valueFrom"] for name, one in found.items() if "MODEL" in name} == {
        "AGENTTASK_MODEL_API_KEY": secret("a", "api-key"),
        "AGENTTASK_MODEL_API_KEY_2": secret("b", "k"),
        "AGENTTASK_MODEL_CA_2": {"configMapKeyRef": {"name": "roots", "key": "ca.crt"}},
    }


def test_a_task_that_names_its_model_or_store_inherits_none_of_the_chart() -> None:
    own = task(
        spec={
            "agent": {"model": {"baseURL": "https://mine.example/v1", "name": "mine"}},
            "checkpoint": {"s3": {"bucket": "mine"}},
        }
    )
    manifest = rendered(own)
    told = assignment(manifest)
    assert told.spec.agent.model == contract.Model(base_url="https://mine.example/v1", name="mine")
    assert told.location == contract.Location(type="s3", bucket="mine")
    assert not env(manifest).keys() & {"AGENTTASK_MODEL_API_KEY", "AWS_ACCESS_KEY_ID"}


def header(name: str, *, key: str = "token") -> dict[str, Any]:
    return {"name": "Authorization", "secretKeyRef": {"name": name, "key": key}, "prefix": "Bearer "}


def test_secrets_of_headers_come_by_reference_once_each() -> None:
    http = {"url": "https://tools.example.com", "headers": [header("crm.prod")]}
    tools = [
        {"name": "look", "http": http},
        {
            "name": "pay",
            "recovery": "Reconcile",
            "http": http,
            "probe": {"http": {**http, "headers": [header("bank")]}},
        },
    ]
    made = env(rendered(task(spec={"agent": {"tools": tools}})))
    found = {name: one["valueFrom"] for name, one in made.items() if name.startswith("AGENTTASK_SECRET_")}
    assert found == {
        "AGENTTASK_SECRET_CRM_PROD_TOKEN": secret("crm.prod", "token"),
        "AGENTTASK_SECRET_BANK_TOKEN": secret("bank", "token"),
    }


def test_a_prompt_is_mounted_where_the_runner_looks_for_it_and_may_be_missing() -> None:
    made = rendered(task(spec={"prompt": None, "promptFrom": {"configMapKeyRef": {"name": "prompts", "key": "a"}}}))
    items = [{"key": "a", "path": "prompt"}]
    volume = {"name": "agenttask-prompt", "configMap": {"name": "prompts", "items": items, "optional": True}}
    assert volume in made["spec"]["volumes"]
    mounts = made["spec"]["containers"][0]["volumeMounts"]
    folder = str(Path(contract.PROMPT_PATH).parent)
    assert {"name": "agenttask-prompt", "mountPath": folder, "readOnly": True} in mounts
    assert assignment(made).spec.prompt_from is not None


def test_code_is_mounted_where_the_runner_looks_for_it() -> None:
    made = rendered(task(spec={"code": {"configMapRef": {"name": "tools"}}}))
    assert {"name": "agenttask-code", "configMap": {"name": "tools"}} in made["spec"]["volumes"]
    mounts = made["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "agenttask-code", "mountPath": "/var/lib/agenttask/code", "readOnly": True} in mounts
    assert assignment(made).spec.code == contract.Code(config_map_ref=contract.ConfigMapRef(name="tools"))


def test_secrets_that_would_share_a_variable_are_refused() -> None:
    http = {"url": "https://tools.example.com", "headers": [header("crm.prod"), header("crm-prod")]}
    with pytest.raises(pods.SpecInvalidError, match="too much alike"):
        pods.plan(task=task(spec={"agent": {"tools": [{"name": "look", "http": http}]}}), settings=SETTINGS)


def test_a_recorded_place_stays_and_its_own_secret_may_be_replaced() -> None:
    recorded = status(entry(1))
    assert pods.plan(task=task(status=recorded), settings=BARE_STORE).location == LOCATION
    moved = task(
        status=recorded, spec={"checkpoint": {"s3": {"bucket": "mine", "credentialsSecretRef": {"name": "rotated"}}}}
    )
    made = pods.plan(task=moved, settings=SETTINGS)
    assert made.location == msgspec.structs.replace(LOCATION, credentials_secret="rotated")


COMMAND = {"prompt": None, "command": ["python", "-m", "work"]}


def test_a_command_needs_no_model_and_gets_a_place_for_its_folder() -> None:
    settings = msgspec.structs.replace(SETTINGS, model=None)
    given = task(spec=COMMAND)
    plan = pods.plan(task=given, settings=settings)
    assert plan.spec.command == ("python", "-m", "work")
    made = pods.render(task=given, plan=plan, settings=settings, attempt=1)["spec"]
    assert {"name": "agenttask-program", "emptyDir": {}} in made["volumes"]
    mount = {"name": "agenttask-program", "mountPath": contract.PROGRAM_DIR}
    assert mount in made["containers"][0]["volumeMounts"]
    assert made["containers"][0]["command"] == ["agenttask", "attempt"], "which starts the program as its child"


def test_a_command_gets_none_of_the_default_models_keys() -> None:
    names = {each["name"] for each in rendered(task(spec=COMMAND))["spec"]["containers"][0]["env"]}
    assert "AGENTTASK_MODEL_API_KEY" not in names
    assert assignment(rendered(task(spec=COMMAND))).spec.agent.model is None


def test_a_command_may_work_on_a_volume_of_the_users() -> None:
    mounts = [{"name": "large", "mountPath": f"{contract.PROGRAM_DIR}/"}]
    made = rendered(task(spec={**COMMAND, "pod": {"volumeMounts": mounts}}))
    assert [each["name"] for each in made["spec"]["volumes"] if each["name"] == "agenttask-program"] == []
    assert [each for each in made["spec"]["containers"][0]["volumeMounts"] if "program" in each["mountPath"]] == mounts


def test_an_agent_gets_no_place_for_a_folder() -> None:
    assert "agenttask-program" not in json.dumps(rendered(task()))


BARE_STORE = msgspec.structs.replace(SETTINGS, store=None)


def grows(limit: str | int, *, most: str) -> dict[str, Any]:
    return {"pod": {"resources": {"limits": {"memory": limit}}}, "retry": {"oomMemoryLimit": most}}


INVALID: dict[str, tuple[Task, str]] = {
    "no model": (task(), "names no model"),
    "no store": (
        task(spec={"agent": {"model": {"baseURL": "https://mine.example/v1", "name": "mine"}}}),
        "names no store",
    ),
    "a recovery nobody knows": (
        task(spec={"agent": {"tools": [{"name": "t", "recovery": "Perhaps"}]}}),
        "cannot be read",
    ),
    "more memory that is no more": (task(spec=grows("1Gi", most="1024Mi")), "oomMemoryLimit 1024Mi must be above"),
    "more memory that is less": (task(spec=grows("1Gi", most="1G")), "limits.memory is 1Gi"),
    "more memory than no limit": (task(spec=grows("0", most="1G")), "limits.memory is 0"),
    "more memory than is said": (task(spec={"retry": {"oomMemoryLimit": "1Gi"}}), "limits.memory is not set"),
    "more than an annotation holds": (task(spec={"prompt": "x" * 200 * 1024}), "is the most that fits"),
    "more bytes than an annotation holds, in fewer characters": (
        task(spec={"prompt": "\N{EURO SIGN}" * 70 * 1024}),
        "is the most that fits",
    ),
}


@pytest.mark.parametrize("row", INVALID)
def test_a_spec_that_cannot_be_carried_out_says_so(row: str) -> None:
    given, message = INVALID[row]
    settings = SETTINGS if "annotation" in row else BARE
    with pytest.raises(pods.SpecInvalidError, match=message):
        pods.plan(task=given, settings=settings)


def test_a_runner_is_queued_by_its_label_and_a_purge_waits_in_no_queue() -> None:
    spec = {"pod": {"labels": {"kueue.x-k8s.io/queue-name": "blue", "team": "blue"}}}
    runner, purge = rendered(task(spec=spec)), rendered(task(spec=spec, deleted=NOW))
    assert runner["metadata"]["labels"].items() >= spec["pod"]["labels"].items()
    assert "kueue.x-k8s.io/queue-name" not in purge["metadata"]["labels"]
    assert purge["metadata"]["labels"]["team"] == "blue"


@pytest.mark.parametrize(("limit", "most"), [("1Gi", "1025Mi"), ("+1e3", "1Ki"), (2**30, "2G"), ("0.5Gi", "1Gi")])
def test_more_memory_may_be_had_where_it_is_more(limit: str | int, most: str) -> None:
    assert pods.plan(task=task(spec=grows(limit, most=most)), settings=SETTINGS)


def test_the_digest_changes_with_what_the_pod_is_made_from_and_with_nothing_else() -> None:
    def digest(of: Task) -> str:
        return pods.digest(task=of, plan=pods.plan(task=of, settings=SETTINGS), settings=SETTINGS)

    plain = digest(task())
    same = {
        "another attempt, with a checkpoint": task(status=status(entry(5)), checkpoint=checkpoint()),
        "more retries": task(spec={"retry": {"maxFailures": 9}}),
        "another generation": task(generation=5),
    }
    assert {name for name, one in same.items() if digest(one) != plain} == set()
    other = {
        "image": task(spec={"pod": {"image": "other"}}),
        "budget": task(spec={"budget": {"steps": 7}}),
        "command": task(spec=COMMAND),
        "model": task(spec={"agent": {"model": {"baseURL": "https://mine.example/v1", "name": "mine"}}}),
    }
    assert {name for name, one in other.items() if digest(one) == plain} == set()


def test_the_park_that_is_met_and_the_unreported_attempts_are_told_and_replace_no_pod() -> None:
    def waits(*, met: bool) -> Task:
        return task(status=status(entry(2), wake=Waking(park=12, not_before=NOW, met=met), unreported=(1,)))

    told = {met: assignment(rendered(waits(met=met))) for met in (True, False)}
    assert {met: (each.met_park, each.unreported) for met, each in told.items()} == {
        True: (12, (1,)),
        False: (None, (1,)),
    }
    plain = task(status=status(entry(2)))
    assert digest_of(waits(met=True)) == digest_of(plain)


def test_a_manifest_is_plain_json() -> None:
    manifest = rendered(task())
    assert json.loads(json.dumps(manifest)) == manifest
