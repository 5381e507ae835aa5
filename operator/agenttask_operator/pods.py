"""The runner pod of one attempt, rendered from the task alone.

Pure. The pod passes Pod Security `restricted` as rendered; what the user sets under `spec.pod` is laid over it, and
what the contract needs over that. Secrets are only named here: the kubelet reads them, never the operator.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec
from agenttask import contract
from agenttask.places import resolve

from agenttask_operator import memory, places
from agenttask_operator.observed import ANNOTATION_DIGEST, Task
from agenttask_operator.settings import Settings

USER_ID: Final = 65532
GRACE_SECONDS: Final = 30
NODE_TOLERATION_SECONDS: Final = 30
_NODE_TAINTS: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_TOKEN_SECONDS: Final = 3600
_CODE: Final = "agenttask-code"
_PROMPT: Final = "agenttask-prompt"
_PROGRAM: Final = "agenttask-program"
_QUEUE: Final = "kueue.x-k8s.io/queue-name"
_PASSED_THROUGH: Final = (
    "nodeSelector",
    "affinity",
    "topologySpreadConstraints",
    "priorityClassName",
    "serviceAccountName",
    "runtimeClassName",
)


class SpecInvalidError(Exception):
    """The spec asks for something that cannot be done; the message is for the user."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A task's spec with the chart's defaults filled in: what an attempt started now would be told."""

    spec: contract.TaskSpec
    location: contract.Location
    command: str = "attempt"
    """What the runner is to do."""


def plan(*, task: Task, settings: Settings) -> Plan:
    """What the next attempt is for: the task, or its purge once it is being deleted.

    Raises:
        SpecInvalidError: the spec does not decode, names no model or store where there is no default, is too large, or
            asks for more memory that is no more.
    """
    if task.metadata.deletion_timestamp is not None:
        return _purge_plan(task=task, settings=settings)
    return _work_plan(task=task, settings=settings)


def _work_plan(*, task: Task, settings: Settings) -> Plan:
    """Resolve model and place, each whole or not at all; a command has no model."""
    try:
        spec = msgspec.convert(task.spec, contract.TaskSpec)
    except msgspec.ValidationError as error:
        raise SpecInvalidError(f"The spec cannot be read: {error}") from error
    if (flaw := contract.memory_flaw(spec)) is not None:
        raise SpecInvalidError(f"{flaw}.")
    agent = spec.agent
    if spec.command is None:
        model = agent.model or settings.model
        if model is None:
            raise SpecInvalidError("The task names no model (spec.agent.model) and the operator has no default model.")
        agent = msgspec.structs.replace(agent, model=model)
    try:
        contract.secrets_of(agent)
    except ValueError as error:
        raise SpecInvalidError(f"The tools cannot have their Secrets: {error}.") from error
    # What the runner never looks at is left at its default, so that editing it changes no digest.
    told = contract.TaskSpec(
        prompt=spec.prompt,
        prompt_from=spec.prompt_from,
        resume_from=spec.resume_from,
        agent=agent,
        command=spec.command,
        code=spec.code,
        checkpoint=msgspec.structs.replace(spec.checkpoint, on_delete="Retain"),
        budget=spec.budget,
    )
    made = Plan(spec=told, location=_location(task=task, spec=spec, settings=settings))
    size = len(_assignment(task=task, plan=made, attempt=2**31, with_progress=True).encode())
    if size > contract.MAX_ASSIGNMENT_BYTES:
        limit = contract.MAX_ASSIGNMENT_BYTES
        raise SpecInvalidError(f"The spec takes {size} bytes in its pod, and {limit} is the most that fits.")
    return made


def _purge_plan(*, task: Task, settings: Settings) -> Plan:
    """The place of the log, and nothing of the agent, which may be what is wrong."""
    try:
        checkpoint = msgspec.convert(task.spec.get("checkpoint", {}), contract.Checkpoint)
    except msgspec.ValidationError as error:
        raise SpecInvalidError(f"spec.checkpoint cannot be read: {error}") from error
    spec = contract.TaskSpec(checkpoint=checkpoint)
    return Plan(spec=spec, location=_location(task=task, spec=spec, settings=settings), command="purge")


def digest(*, task: Task, plan: Plan, settings: Settings) -> str:
    """Digest of the pod this task would get now, whatever its attempt: 16 hexadecimal digits."""
    template = _manifest(task=task, plan=plan, settings=settings, attempt=0, with_progress=False)
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]


def render(*, task: Task, plan: Plan, settings: Settings, attempt: int) -> dict[str, Any]:
    """The pod of one attempt. `task` is the object that records the attempt, so that its checkpoint is no older."""
    manifest = _manifest(task=task, plan=plan, settings=settings, attempt=attempt, with_progress=True)
    manifest["metadata"]["annotations"][ANNOTATION_DIGEST] = digest(task=task, plan=plan, settings=settings)
    return manifest


def _location(*, task: Task, spec: contract.TaskSpec, settings: Settings) -> contract.Location:
    store = settings.store
    default = None
    if store is not None:
        default = contract.Checkpoint(s3=store.s3, redis=store.redis, filesystem=store.filesystem)
    place = resolve(own=spec.checkpoint, default=default, recorded=task.status.location)
    if place is None:
        raise SpecInvalidError("The task names no store (spec.checkpoint) and the operator has no default store.")
    return place


def _assignment(*, task: Task, plan: Plan, attempt: int, with_progress: bool) -> str:
    recorded, wake = task.checkpoint if with_progress else None, task.status.wake
    assignment = contract.Assignment(
        contract=contract.CONTRACT,
        namespace=task.metadata.namespace,
        name=task.metadata.name,
        uid=task.metadata.uid,
        attempt=attempt,
        location=plan.location,
        spec=plan.spec,
        recorded_key=recorded.key if recorded else None,
        recorded_seq=recorded.seq if recorded else None,
        forked_from=task.status.forked_from,
        unreported=task.status.unreported if with_progress else None,
        met_park=wake.park if with_progress and wake is not None and wake.met else None,
    )
    return msgspec.json.encode(assignment).decode()


def _manifest(*, task: Task, plan: Plan, settings: Settings, attempt: int, with_progress: bool) -> dict[str, Any]:
    user: Mapping[str, Any] = task.spec.get("pod") or {}
    meta = task.metadata
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": contract.pod_name(task=meta.name, attempt=attempt),
            "namespace": meta.namespace,
            "labels": {
                **_labels(user, plan),
                "app.kubernetes.io/name": "agenttask-runner",
                "app.kubernetes.io/managed-by": contract.OPERATOR_MANAGER,
                contract.LABEL_TASK: meta.name,
                contract.LABEL_ATTEMPT: str(attempt),
            },
            "annotations": {
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
                **user.get("annotations", {}),
                contract.ANNOTATION_ASSIGNMENT: _assignment(
                    task=task, plan=plan, attempt=attempt, with_progress=with_progress
                ),
            },
            "ownerReferences": [
                {
                    "apiVersion": f"{contract.GROUP}/{contract.VERSION}",
                    "kind": contract.KIND,
                    "name": meta.name,
                    "uid": meta.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": _pod_spec(user=_given(user, task=task), plan=plan, settings=settings),
    }


def _labels(user: Mapping[str, Any], plan: Plan) -> Mapping[str, Any]:
    """The user's; a purge, which is over in seconds and may try for minutes only, waits in no queue for its place."""
    labels: Mapping[str, Any] = user.get("labels", {})
    return {key: value for key, value in labels.items() if plan.command != "purge" or key != _QUEUE}


def _given(user: Mapping[str, Any], *, task: Task) -> Mapping[str, Any]:
    """`spec.pod` with as much memory as the attempt that is recorded is to have."""
    entry = task.status.current
    if entry is None or entry.memory_limit is None:
        return user
    return {**user, "resources": memory.resources(user, limit=entry.memory_limit)}


def _pod_spec(*, user: Mapping[str, Any], plan: Plan, settings: Settings) -> dict[str, Any]:
    pull_secrets = user.get("imagePullSecrets") or [{"name": ref.name} for ref in settings.runner.image_pull_secrets]
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _grace(user),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
            **user.get("securityContext", {}),
        },
        "tolerations": _tolerations(user),
        "containers": [_container(user=user, plan=plan, settings=settings)],
        "volumes": [
            *_volumes(user),
            *_code_volumes(plan),
            *_prompt_volumes(plan),
            *_program_volumes(user, plan),
            *places.volumes(plan.location),
        ],
        **({"imagePullSecrets": pull_secrets} if pull_secrets else {}),
        **{key: user[key] for key in _PASSED_THROUGH if key in user},
    }


def _container(*, user: Mapping[str, Any], plan: Plan, settings: Settings) -> dict[str, Any]:
    own_env = _env(user=user, plan=plan)
    taken = {one["name"] for one in own_env}
    container = {
        "name": contract.CONTAINER,
        "image": user.get("image") or settings.runner.image,
        "imagePullPolicy": user.get("imagePullPolicy") or settings.runner.image_pull_policy,
        "command": ["agenttask", plan.command],
        "env": [*(one for one in user.get("env", []) if one["name"] not in taken), *own_env],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePath": contract.TERMINATION_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *_mounts(user),
            *_code_mounts(plan),
            *_prompt_mounts(plan),
            *_program_mounts(user, plan),
            *places.mounts(plan.location),
        ],
    }
    return container | {key: user[key] for key in ("envFrom", "resources") if key in user}


def _env(*, user: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    """What the contract names. Keys come by reference, so that the kubelet says which one is missing."""
    fields = {
        contract.ENV_POD_UID: "metadata.uid",
        contract.ENV_POD_NAME: "metadata.name",
        contract.ENV_NODE_NAME: "spec.nodeName",
    }
    env: list[dict[str, Any]] = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()
    ]
    env.append({"name": contract.ENV_GRACE_SECONDS, "value": str(_grace(user))})
    for variable, secret in contract.secrets_of(plan.spec.agent).items():
        env.append(_from("secretKeyRef", variable, name=secret.name, key=secret.key))
    return env + _model_env(plan.spec.agent.model) + places.env(plan.location)


def _model_env(model: contract.Model | None) -> list[dict[str, Any]]:
    """Each endpoint's key and certificates, under names of its own."""
    env = []
    for endpoint in contract.endpoints_of(model) if model else ():
        if (key := endpoint.api_key_secret_ref) is not None:
            env.append(_from("secretKeyRef", endpoint.key_env, name=key.name, key=key.key))
        if (ca := endpoint.ca_config_map_ref) is not None:
            env.append(_from("configMapKeyRef", endpoint.ca_env, name=ca.name, key=ca.key))
    return env


def _from(source: str, variable: str, *, name: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {source: {"name": name, "key": key}}}


def _volumes(user: Mapping[str, Any]) -> list[dict[str, Any]]:
    path = PurePosixPath(contract.ASSIGNMENT_PATH)
    field = {"fieldPath": f"metadata.annotations['{contract.ANNOTATION_ASSIGNMENT}']"}
    ours: list[dict[str, Any]] = [
        {"name": "agenttask-assignment", "downwardAPI": {"items": [{"path": path.name, "fieldRef": field}]}},
        {
            "name": "agenttask-token",
            "projected": {
                "sources": [
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": _TOKEN_SECONDS}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                ]
            },
        },
    ]
    if not _mounts_tmp(user):
        ours.append({"name": "agenttask-tmp", "emptyDir": {}})
    return [*user.get("volumes", []), *ours]


def _mounts(user: Mapping[str, Any]) -> list[dict[str, Any]]:
    folder = str(PurePosixPath(contract.ASSIGNMENT_PATH).parent)
    ours: list[dict[str, Any]] = [
        {"name": "agenttask-assignment", "mountPath": folder, "readOnly": True},
        {"name": "agenttask-token", "mountPath": contract.TOKEN_DIR, "readOnly": True},
    ]
    if not _mounts_tmp(user):
        ours.append({"name": "agenttask-tmp", "mountPath": "/tmp"})  # noqa: S108 - inside the container
    return [*user.get("volumeMounts", []), *ours]


def _code_volumes(plan: Plan) -> list[dict[str, Any]]:
    """The task's modules; a pod waits for its ConfigMap."""
    code = plan.spec.code
    return [] if code is None else [{"name": _CODE, "configMap": {"name": code.config_map_ref.name}}]


def _code_mounts(plan: Plan) -> list[dict[str, Any]]:
    return [{"name": _CODE, "mountPath": contract.CODE_DIR, "readOnly": True}] if plan.spec.code is not None else []


def _prompt_volumes(plan: Plan) -> list[dict[str, Any]]:
    """Optional: only the first attempt needs it, and says what is missing."""
    if (source := plan.spec.prompt_from) is None:
        return []
    ref, path = source.config_map_key_ref, PurePosixPath(contract.PROMPT_PATH).name
    items = [{"key": ref.key, "path": path}]
    return [{"name": _PROMPT, "configMap": {"name": ref.name, "items": items, "optional": True}}]


def _prompt_mounts(plan: Plan) -> list[dict[str, Any]]:
    if plan.spec.prompt_from is None:
        return []
    return [{"name": _PROMPT, "mountPath": str(PurePosixPath(contract.PROMPT_PATH).parent), "readOnly": True}]


def _program_volumes(user: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    """Where a command works; the user may mount a larger one there."""
    ours = plan.spec.command is not None and not _mounts_at(user, contract.PROGRAM_DIR)
    return [{"name": _PROGRAM, "emptyDir": {}}] if ours else []


def _program_mounts(user: Mapping[str, Any], plan: Plan) -> list[dict[str, Any]]:
    return [{"name": each["name"], "mountPath": contract.PROGRAM_DIR} for each in _program_volumes(user, plan)]


def _mounts_tmp(user: Mapping[str, Any]) -> bool:
    return _mounts_at(user, "/tmp")  # noqa: S108


def _mounts_at(user: Mapping[str, Any], path: str) -> bool:
    return any(PurePosixPath(mount["mountPath"]) == PurePosixPath(path) for mount in user.get("volumeMounts", []))


def _tolerations(user: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The user's, and 30 s for each taint of a lost node they leave out: the API server would add 300 s."""
    own: list[dict[str, Any]] = list(user.get("tolerations", []))
    spoken_of = {one.get("key") for one in own}
    return own + [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_TOLERATION_SECONDS}
        for key in _NODE_TAINTS
        if key not in spoken_of
    ]


def _grace(user: Mapping[str, Any]) -> int:
    return int(user.get("terminationGracePeriodSeconds", GRACE_SECONDS))
