"""What things are called, and their bounds: labels, paths, variables, fields."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

GROUP: Final = "agenttask.dev"
VERSION: Final = "v1alpha1"
PLURAL: Final = "agenttasks"
KIND: Final = "AgentTask"

RUNNER_MANAGER: Final = "agenttask-runner"
"""Server-side-apply field manager of the runner."""
OPERATOR_MANAGER: Final = "agenttask-operator"
"""Server-side-apply field manager of the operator."""
APPLY_CONTENT_TYPE: Final = "application/apply-patch+yaml; charset=utf-8"
"""Of what `encode_apply` makes."""
APPLY_OPTIONS: Final = {"force": "true", "fieldValidation": "Ignore"}
"""Query of each apply. A field that the server does not know is left out either way; to warn of it, which nobody would
read, the server parses the body a second time."""
RUNNER_FIELDS: Final = ("checkpoint", "progress", "usage", "result")
"""The status keys a runner owns; the admission policy lets it write no other."""

FINALIZER: Final = "agenttask.dev/purge"
"""Keeps a task with `checkpoint.onDelete: Delete` until its log is purged."""

LABEL_TASK: Final = "agenttask.dev/task"
LABEL_ATTEMPT: Final = "agenttask.dev/attempt"
ANNOTATION_ASSIGNMENT: Final = "agenttask.dev/assignment"
"""Pod annotation that carries the encoded `Assignment`; the downward API turns it into `ASSIGNMENT_PATH`."""
MAX_ASSIGNMENT_BYTES: Final = 200 * 1024

MAX_UNREPORTED: Final = 50
"""Attempts that `Assignment.unreported` names at most."""

RESULT_BYTES: Final = 256 * 1024
"""What the model gets of a tool's result, unless its tool says otherwise."""

FINISH_TOOL: Final = "finish"
"""The tool by which the model gives its answer, where `agent.finish` says so."""

CONTAINER: Final = "runner"
PROMPT_PATH: Final = "/var/lib/agenttask/prompt/prompt"
"""The prompt of `spec.promptFrom`, if its ConfigMap is there."""
ASSIGNMENT_PATH: Final = "/etc/agenttask/assignment.json"
TOKEN_DIR: Final = "/var/run/secrets/agenttask"  # noqa: S105 - a path
"""Folder of the projected, short-lived `token` and the cluster's `ca.crt`."""
TERMINATION_PATH: Final = "/dev/termination-log"
MAX_TERMINATION_BYTES: Final = 4096

ENV_POD_UID: Final = "AGENTTASK_POD_UID"
ENV_POD_NAME: Final = "AGENTTASK_POD_NAME"
ENV_NODE_NAME: Final = "AGENTTASK_NODE_NAME"
ENV_GRACE_SECONDS: Final = "AGENTTASK_GRACE_SECONDS"
"""The pod's termination grace, in seconds: how long SIGTERM leaves for the step in flight."""
S3_SECRET_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Keys a credentials Secret must have; each becomes the environment variable of the same name."""
S3_OPTIONAL_SECRET_KEYS: Final = ("AWS_SESSION_TOKEN",)
REDIS_SECRET_KEYS: Final = ("REDIS_PASSWORD",)
REDIS_OPTIONAL_SECRET_KEYS: Final = ("REDIS_USERNAME",)
ENV_STORE_CA: Final = "AGENTTASK_STORE_CA"
"""The certificates that vouch for the store's server, PEM, instead of the image's."""
CODE_DIR: Final = "/var/lib/agenttask/code"
"""Where `spec.code` is mounted; Python tools can import what is there."""
PROGRAM_DIR: Final = "/var/lib/agenttask/program"
"""Where the folder of `spec.command` lies, beside what it is told and says: a volume of its own."""
EVERY_SECONDS: Final = 300
"""How often that folder is stored, unless the task says otherwise."""
STORE_DIR: Final = "/var/lib/agenttask/store"
"""Where the volume of a filesystem store is mounted."""

ANSWER_BYTES: Final = 4096
"""Where `status.result.answer` is cut; the whole answer is in the record `status.result.key` names."""


def encode_apply(manifest: dict[str, Any]) -> bytes:
    """A server-side apply's body: JSON that reads the same as YAML, for which the API server takes it.

    YAML knows no escaped surrogates, so what is beyond U+FFFF stands as it is; and of what a string may hold it takes
    control and format characters for an error or for a line break, so those are escaped.
    """
    text = msgspec.json.encode(manifest).decode()
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text).encode()


_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def pod_name(*, task: str, attempt: int) -> str:
    """Name of the pod of one attempt: at most 63 characters, since a task's name has at most 52."""
    return f"{task}-{attempt}"
