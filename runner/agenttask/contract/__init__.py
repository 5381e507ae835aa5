"""All that operator and runner agree on, with its version.

The operator renders a pod from a task and hands it an `Assignment` (a file); the runner answers with its exit code, a
`Termination` (the container's termination message) and the status fields listed in `RUNNER_FIELDS`. Nothing else
passes between them. Fields are added, never tightened: decoding ignores what it does not know, so a runner one minor
version older than its operator works.

This package is pure and needs msgspec alone.
"""

from __future__ import annotations

from typing import Final

from agenttask.contract.names import (
    ANNOTATION_ASSIGNMENT,
    ANSWER_BYTES,
    APPLY_CONTENT_TYPE,
    ASSIGNMENT_PATH,
    CONTAINER,
    ENV_GRACE_SECONDS,
    ENV_MODEL_API_KEY,
    ENV_NODE_NAME,
    ENV_POD_NAME,
    ENV_POD_UID,
    ENV_STORE_CA,
    GROUP,
    KIND,
    LABEL_ATTEMPT,
    LABEL_TASK,
    MAX_ASSIGNMENT_BYTES,
    MAX_TERMINATION_BYTES,
    MAX_UNREPORTED,
    OPERATOR_MANAGER,
    PLURAL,
    REDIS_OPTIONAL_SECRET_KEYS,
    REDIS_SECRET_KEYS,
    RESULT_BYTES,
    RUNNER_FIELDS,
    RUNNER_MANAGER,
    S3_OPTIONAL_SECRET_KEYS,
    S3_SECRET_KEYS,
    STORE_DIR,
    TERMINATION_PATH,
    TOKEN_DIR,
    VERSION,
    encode_apply,
    pod_name,
)
from agenttask.contract.outcome import (
    Exit,
    Outcome,
    RunnerReason,
    Termination,
)
<<<<<<< Updated upstream
from agenttask.contract.place import (
    ForkedFrom,
    Place,
    ResumeFrom,
    log_prefix,
    origin,
    other_store,
)
=======
from agenttask.contract.secrets import RUNNER_ONLY, secret_variable, secrets_of
>>>>>>> Stashed changes
from agenttask.contract.spec import (
    S3,
    Agent,
    Assignment,
    Budget,
    Checkpoint,
    ConfigMapKeyRef,
    Durability,
    Encryption,
    Filesystem,
    Header,
    HttpTool,
    Location,
    Model,
    Probe,
    Redis,
    Retry,
    SecretKeyRef,
    SecretRef,
    TaskSpec,
    Tool,
)
from agenttask.contract.status import (
    AttemptUsage,
    CheckpointStatus,
    DamageStatus,
    InheritedUsage,
    ProgressStatus,
    ResultStatus,
    RunnerStatus,
    UsageStatus,
)

CONTRACT: Final = 1
"""Version of this contract; a runner refuses an assignment of a higher one."""

__all__ = [
    "ANNOTATION_ASSIGNMENT",
    "ANSWER_BYTES",
    "APPLY_CONTENT_TYPE",
    "ASSIGNMENT_PATH",
    "CONTAINER",
    "CONTRACT",
    "ENV_GRACE_SECONDS",
    "ENV_MODEL_API_KEY",
    "ENV_NODE_NAME",
    "ENV_POD_NAME",
    "ENV_POD_UID",
    "ENV_STORE_CA",
    "GROUP",
    "KIND",
    "LABEL_ATTEMPT",
    "LABEL_TASK",
    "MAX_ASSIGNMENT_BYTES",
    "MAX_TERMINATION_BYTES",
    "MAX_UNREPORTED",
    "OPERATOR_MANAGER",
    "PLURAL",
    "REDIS_OPTIONAL_SECRET_KEYS",
    "REDIS_SECRET_KEYS",
    "RESULT_BYTES",
    "RUNNER_FIELDS",
    "RUNNER_MANAGER",
    "RUNNER_ONLY",
    "S3",
    "S3_OPTIONAL_SECRET_KEYS",
    "S3_SECRET_KEYS",
    "STORE_DIR",
    "TERMINATION_PATH",
    "TOKEN_DIR",
    "VERSION",
    "Agent",
    "Assignment",
    "AttemptUsage",
    "Budget",
    "Checkpoint",
    "CheckpointStatus",
    "ConfigMapKeyRef",
    "DamageStatus",
    "Durability",
    "Encryption",
    "Exit",
    "Filesystem",
<<<<<<< Updated upstream
    "ForkedFrom",
=======
    "Header",
>>>>>>> Stashed changes
    "HttpTool",
    "InheritedUsage",
    "Location",
    "Model",
    "Outcome",
    "Place",
    "Probe",
    "ProgressStatus",
    "Redis",
    "ResultStatus",
    "ResumeFrom",
    "Retry",
    "RunnerReason",
    "RunnerStatus",
    "SecretKeyRef",
    "SecretRef",
    "TaskSpec",
    "Termination",
    "Tool",
    "UsageStatus",
    "encode_apply",
    "log_prefix",
    "origin",
    "other_store",
    "pod_name",
    "secret_variable",
    "secrets_of",
]
