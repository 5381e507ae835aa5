"""All that operator and runner agree on, with its version.

The operator renders a pod from a task and hands it an `Assignment` (a file); the runner answers with its exit code, a
`Termination` (the container's termination message) and the status fields listed in `RUNNER_FIELDS`. Nothing else
passes between them. Fields are added, never tightened: decoding ignores what it does not know, so a runner one minor
version older than its operator works.

This module is pure and needs msgspec alone.
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import Any, Final, Literal

import msgspec

CONTRACT: Final = 1
"""Version of this contract; a runner refuses an assignment of a higher one."""

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
RUNNER_FIELDS: Final = ("checkpoint", "progress", "usage", "result")
"""The status keys a runner owns; the admission policy lets it write no other."""

LABEL_TASK: Final = "agenttask.dev/task"
LABEL_ATTEMPT: Final = "agenttask.dev/attempt"
ANNOTATION_ASSIGNMENT: Final = "agenttask.dev/assignment"
"""Pod annotation that carries the encoded `Assignment`; the downward API turns it into `ASSIGNMENT_PATH`."""
MAX_ASSIGNMENT_BYTES: Final = 200 * 1024

CONTAINER: Final = "runner"
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
ENV_MODEL_API_KEY: Final = "AGENTTASK_MODEL_API_KEY"
S3_SECRET_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""Keys a credentials Secret must have; each becomes the environment variable of the same name."""
S3_OPTIONAL_SECRET_KEYS: Final = ("AWS_SESSION_TOKEN",)
REDIS_SECRET_KEYS: Final = ("REDIS_PASSWORD",)
REDIS_OPTIONAL_SECRET_KEYS: Final = ("REDIS_USERNAME",)
ENV_STORE_CA: Final = "AGENTTASK_STORE_CA"
"""The certificates that vouch for the store's server, PEM, instead of the image's."""
STORE_DIR: Final = "/var/lib/agenttask/store"
"""Where the volume of a filesystem store is mounted."""

ANSWER_BYTES: Final = 4096
"""Where `status.result.answer` is cut; the whole answer is in the record `status.result.key` names."""


class Exit(IntEnum):
    """Exit codes of the runner."""

    FINAL = 0
    """The final record is durable and the last status write was accepted (or the task is gone)."""
    UNAVAILABLE = 69
    """The store gave no answer for 10 s before the claim was confirmed, or for 60 s after."""
    INTERNAL = 70
    """A defect of the runner: the only code of its own that counts as a failure."""
    STOPPED = 75
    """Stopped by SIGTERM; resume me."""
    FENCED = 77
    """A newer attempt, or another pod of this one, has claimed the log."""
    STALLED = 78
    """Someone is needed: the termination message says for what."""


class Outcome(StrEnum):
    """How a runner says its attempt ended."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    UNAVAILABLE = "Unavailable"
    INTERNAL = "Internal"
    STOPPED = "Stopped"
    FENCED = "Fenced"
    STALLED = "Stalled"


class RunnerReason(StrEnum):
    """Reasons a runner gives beside its outcome; each is a `status.reason` as it stands."""

    COMPLETED = "Completed"
    """The model gave its final answer."""
    BUDGET_EXHAUSTED = "BudgetExhausted"
    """`budget.steps` were used before a final answer."""
    MODEL_REFUSED = "ModelRefused"
    """The endpoint calls the request itself bad; sending it again cannot help."""
    MODEL_DENIED = "ModelDenied"
    """The model's endpoint refused the key, or the key's right to this model."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """The endpoint does not know the model, or nothing is served under the base URL."""
    MODEL_QUOTA_EXHAUSTED = "ModelQuotaExhausted"
    """The account's quota or spend limit is used up."""
    MODEL_UNAVAILABLE = "ModelUnavailable"
    """The endpoint stayed unreachable, overloaded or rate-limited through every retry."""
    STORE_UNAVAILABLE = "StoreUnavailable"
    """The checkpoint store did not answer."""
    STORE_NOT_FOUND = "StoreNotFound"
    """The bucket does not exist."""
    STORE_DENIED = "StoreDenied"
    """The store refused the credentials."""
    STORE_FULL = "StoreFull"
    """The checkpoint store has no space left, or a quota is used up."""
    STORE_MISCONFIGURED = "StoreMisconfigured"
    """The store cannot hold a checkpoint log: put-if-absent is not honoured, for one."""
    CHECKPOINT_LOST = "CheckpointLost"
    """The recorded checkpoint is above every record in the store, or the log is empty."""
    CHECKPOINT_GONE = "CheckpointGone"
    """The checkpoint to resume from is not in the store any more."""
    CHECKPOINT_CORRUPT = "CheckpointCorrupt"
    """A record that is needed does not verify."""
    FORMAT_TOO_NEW = "FormatTooNew"
    """The log was written in a format this runner cannot read."""
    SPEC_INVALID = "SpecInvalid"
    """The assignment says something this runner cannot do."""
    STOPPED = "Stopped"
    """SIGTERM came; the work is in the store."""
    FENCED = "Fenced"
    """A newer claim was met in the log."""
    INTERNAL_ERROR = "InternalError"
    """A defect; the message and the last log lines say where."""


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of everything on the wire: camelCase names, unknown fields ignored, defaults left out."""


class SecretKeyRef(_Wire, frozen=True):
    """One key of a Secret in the task's namespace."""

    name: str
    key: str = "api-key"


class SecretRef(_Wire, frozen=True):
    """A Secret in the task's namespace."""

    name: str


class Model(_Wire, frozen=True):
    """An OpenAI-compatible chat-completions endpoint. Taken whole or not at all: a key goes only where it belongs."""

    base_url: str = msgspec.field(name="baseURL")
    name: str
    api_key_secret_ref: SecretKeyRef | None = None


class HttpTool(_Wire, frozen=True):
    """A tool that is one HTTP request: arguments as JSON body, or as query for GET, HEAD and DELETE."""

    url: str
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "POST"


class Tool(_Wire, frozen=True):
    """A tool the model may call; exactly one of `http` and `command` is set."""

    name: str
    recovery: Literal["Idempotent"]
    description: str = ""
    parameters: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "object", "properties": {}})
    http: HttpTool | None = None
    command: tuple[str, ...] | None = None
    timeout_seconds: int = 60


class Agent(_Wire, frozen=True):
    """What the built-in agent is: nothing in here is about one task."""

    system_prompt: str | None = None
    model: Model | None = None
    tools: tuple[Tool, ...] = ()


class ConfigMapKeyRef(_Wire, frozen=True):
    """One key of a ConfigMap in the task's namespace."""

    name: str
    key: str = "ca.crt"


class Encryption(_Wire, frozen=True):
    """Encryption at rest by the S3 server: with its own key, or with one of its key service (None: the default one)."""

    type: Literal["SSE-S3", "SSE-KMS"]
    kms_key_id: str | None = msgspec.field(name="kmsKeyID", default=None)


class Durability(_Wire, frozen=True):
    """What a Redis write waits for before it counts."""

    aof: bool = True
    """That the primary (and `replicas`) have it in their append-only file, on disk."""
    replicas: int = 0
    """That so many replicas have it."""


class S3(_Wire, frozen=True):
    """A place in an S3 bucket. Without a credentials Secret the default AWS chain applies."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    addressing: Literal["Path", "Virtual"] | None = None
    encryption: Encryption | None = None
    ca_config_map_ref: ConfigMapKeyRef | None = None
    credentials_secret_ref: SecretRef | None = None


class Redis(_Wire, frozen=True):
    """A place on a Redis server with one primary: one hash per task."""

    url: str
    """`redis://host:6379/0` or `rediss://…`; never with a password in it."""
    prefix: str = ""
    ttl_seconds: int = 604800
    """How long a log is kept after its final record; an unfinished one never expires."""
    durability: Durability = Durability()
    ca_config_map_ref: ConfigMapKeyRef | None = None
    credentials_secret_ref: SecretRef | None = None


class Filesystem(_Wire, frozen=True):
    """A folder on a volume with hard links."""

    claim_name: str
    """PersistentVolumeClaim in the task's namespace."""
    path: str = ""
    """Folder inside the volume."""


class Checkpoint(_Wire, frozen=True):
    """Where the checkpoint log goes (at most one place), and how it is kept."""

    s3: S3 | None = None
    redis: Redis | None = None
    filesystem: Filesystem | None = None
    verify: Literal["Checksum", "ReadBack"] = "Checksum"
    """Whether the store's own checksums are enough, or each write is read back and compared."""
    every_steps: int = 1
    """1: every event is durable before the next thing happens. More: a kill repeats up to that many steps."""
    keep_last: int = 3
    """How many verified snapshots are kept; records older than the oldest of them go."""
    on_corruption: Literal["Rewind", "Stall"] = "Rewind"
    """What to do when a record that is needed cannot be read."""


class Budget(_Wire, frozen=True):
    """What the task may use. `steps` counts model replies."""

    steps: int = 50


class Retry(_Wire, frozen=True):
    """How application failures are retried. Disruptions never count."""

    max_failures: int = 3
    max_backoff_seconds: int = 300
    start_deadline_seconds: int | None = None
    """How long a runner that works is waited for; unset: trouble before it does never ends a task."""


class Place(_Wire, frozen=True):
    """Where logs lie: a store, and a path in it."""

    type: Literal["s3", "redis", "filesystem"]
    bucket: str | None = None
    prefix: str = ""
    endpoint: str | None = None
    """Address of the S3 server, or URL of the Redis server."""
    region: str | None = None
    claim_name: str | None = None
    """Of a filesystem store in a cluster: the volume, mounted at `STORE_DIR`."""
    path: str | None = None
    """Folder of a filesystem store: inside the volume, or on this machine in a local run."""


class ResumeFrom(_Wire, frozen=True):
    """A checkpoint of another task in the same namespace and store: of a `task`, or under a `location`."""

    task: str | None = None
    location: Place | None = None
    key: str | None = None
    """Key of a record; None: the newest one of `task`."""
    parts: tuple[Literal["Conversation", "Results"], ...] = ("Conversation", "Results")
    """What is taken along: the messages, and what the tool calls in them returned."""


class TaskSpec(_Wire, frozen=True):
    """`spec` of an AgentTask. `pod` is merged into the runner pod by the operator and means nothing to a runner."""

    prompt: str | None = None
    """The first user message, or the next one of a fork; None in a fork alone."""
    resume_from: ResumeFrom | None = None
    agent: Agent = Agent()
    checkpoint: Checkpoint = Checkpoint()
    budget: Budget = Budget()
    retry: Retry = Retry()
    suspend: bool = False
    cancel: bool = False
    active_deadline_seconds: int | None = None
    """For how long runners may work, all attempts together."""
    ttl_seconds_after_finished: int | None = None
    """How long a finished task is kept; unset: until somebody deletes it."""
    pod: dict[str, Any] = {}


class Location(Place, frozen=True):
    """`status.location`: where the log lies and how its store is spoken to, resolved before attempt 1.

    The place is immutable from then on; the rest follows `spec.checkpoint` as long as that names the place itself.
    """

    addressing: Literal["Path", "Virtual"] | None = None
    encryption: Encryption | None = None
    ttl_seconds: int | None = None
    durability: Durability | None = None
    ca_config_map: ConfigMapKeyRef | None = None
    credentials_secret: str | None = None
    """Name of the Secret written beside the place, so that a changed default never sends a key elsewhere."""


class ForkedFrom(_Wire, frozen=True):
    """`status.forkedFrom`: what a fork goes on from, resolved before attempt 1."""

    task: str
    """Name of the original."""
    uid: str
    key: str
    """Key of the record, in the store of the fork itself."""
    seq: int


class Assignment(_Wire, frozen=True):
    """What one attempt is told: everything the runner needs but its secrets and its pod's identity."""

    contract: int
    namespace: str
    name: str
    uid: str
    attempt: int
    location: Location
    spec: TaskSpec
    """With the model resolved: `spec.agent.model` is set."""
    recorded_key: str | None = None
    """`status.checkpoint.key` when the attempt was raised: a lower bound for what the log must hold."""
    recorded_seq: int | None = None
    forked_from: ForkedFrom | None = None
    """What an empty log begins with."""


class Termination(_Wire, frozen=True):
    """The termination message: JSON of at most `MAX_TERMINATION_BYTES`."""

    contract: int
    outcome: Outcome
    reason: str
    message: str
    attempt: int
    newest_attempt: int | None = None
    """The newest attempt whose claim the log holds, where that is known."""
    seq: int | None = None
    key: str | None = None
    digest: str | None = None


class DamageStatus(_Wire, frozen=True):
    """What this attempt found broken in the checkpoint log."""

    message: str
    lost_records: int
    """How many records it had to leave behind; 0: nothing was lost."""


class CheckpointStatus(_Wire, frozen=True):
    """`status.checkpoint`: the newest durable record."""

    key: str
    id: str
    seq: int
    step: int
    attempt: int
    digest: str
    progress_digest: str
    time: str
    size_bytes: int
    parent_id: str | None = msgspec.field(name="parentID", default=None)
    resumed_from: str | None = None
    """Key of the record this attempt really went on from; the operator copies it into `status.attempts`."""
    damage: DamageStatus | None = None
    """The operator copies its message into `status.attempts`, and counts what was lost."""


class ProgressStatus(_Wire, frozen=True):
    """`status.progress`: `display` is `step/maxSteps`, since a printer column is a single path."""

    step: int
    max_steps: int
    display: str
    message: str


class AttemptUsage(_Wire, frozen=True):
    """Model calls of one attempt: replies recorded, and calls of its predecessor that it had to repeat."""

    attempt: int
    model_calls: int
    repeated_model_calls: int


class InheritedUsage(_Wire, frozen=True):
    """What the original of a fork had used up to where it was forked."""

    model_calls: int
    tool_calls: int
    prompt_tokens: int
    completion_tokens: int


class UsageStatus(_Wire, frozen=True):
    """`status.usage`: totals over the whole task, and the last 10 attempts one by one."""

    model_calls: int
    repeated_model_calls: int
    tool_calls: int
    prompt_tokens: int
    completion_tokens: int
    attempts: tuple[AttemptUsage, ...]
    inherited: InheritedUsage | None = None
    """Of a fork; in none of the totals."""


class ResultStatus(_Wire, frozen=True):
    """`status.result`: the answer, cut at `ANSWER_BYTES`, and the key of the final record, which holds all of it."""

    answer: str
    key: str


class RunnerStatus(_Wire, frozen=True):
    """All a runner may write; it applies the whole of it each time."""

    checkpoint: CheckpointStatus
    progress: ProgressStatus
    usage: UsageStatus
    result: ResultStatus | None = None


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


def origin(key: str, *, prefix: str, namespace: str) -> ForkedFrom | None:
    """What the key of a record below `<prefix>/<namespace>/` names, or None if it is no such key."""
    folder = "/".join(part for part in (prefix.strip("/"), namespace) if part)
    found = _RECORD.fullmatch(key.removeprefix(f"{folder}/")) if key.startswith(f"{folder}/") else None
    return None if found is None else ForkedFrom(task=found[1], uid=found[2], key=key, seq=int(found[3]))


def other_store(there: Place, here: Place) -> str | None:
    """How the stores of two places differ, in words, or None if both are in one: only the path in it may differ."""
    for field in msgspec.structs.fields(Place):
        values = [getattr(place, field.name) or None for place in (there, here)]
        if field.name != "prefix" and values[0] != values[1]:
            return f"{field.encode_name} is {values[0] or 'unset'} there and {values[1] or 'unset'} here"
    return None


_RECORD: Final = re.compile(r"([^/]+)/([^/]+)/log/([0-9]{12})")


def log_prefix(*, prefix: str, namespace: str, name: str, uid: str) -> str:
    """Where a task's log lies inside its location, without a trailing slash."""
    return "/".join(part for part in (prefix.strip("/"), namespace, name, uid) if part)
