"""What the cluster says, parsed once: an AgentTask and its pods as the operator reads them.

Pure. Only what the operator looks at is named; everything else in the objects is ignored, so a newer API server changes
nothing here. A field is required here only where the API requires it: an object somebody edited still reads. Times are
aware datetimes.
"""

from agenttask_operator.observed.metadata import Metadata, Owner
from agenttask_operator.observed.pod import (
    ANNOTATION_DIGEST,
    Complaint,
    ContainerState,
    ContainerStatus,
    Pod,
    PodCondition,
    PodSpec,
    PodStatus,
    Running,
    Terminated,
    Waiting,
    newest_complaint,
    read_pod,
)
from agenttask_operator.observed.task import (
    Attempt,
    Checkpoint,
    Condition,
    Counts,
    Damage,
    Lost,
    Outcome,
    Phase,
    Progress,
    Retry,
    Status,
    Task,
    Usage,
    Waking,
    read_task,
)

__all__ = [
    "ANNOTATION_DIGEST",
    "Attempt",
    "Checkpoint",
    "Complaint",
    "Condition",
    "ContainerState",
    "ContainerStatus",
    "Counts",
    "Damage",
    "Lost",
    "Metadata",
    "Outcome",
    "Owner",
    "Phase",
    "Pod",
    "PodCondition",
    "PodSpec",
    "PodStatus",
    "Progress",
    "Retry",
    "Running",
    "Status",
    "Task",
    "Terminated",
    "Usage",
    "Waiting",
    "Waking",
    "newest_complaint",
    "read_pod",
    "read_task",
]
