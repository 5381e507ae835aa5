"""A runner pod: what the kubelet says of its container and the cluster of its place.

Nothing here is written by the operator, but for the labels and the owner a pod was made with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from agenttask import contract

from agenttask_operator.observed.metadata import Metadata, Read


class Waiting(Read, frozen=True, kw_only=True):
    """A container that has not started."""

    reason: str = ""
    message: str = ""


class Running(Read, frozen=True, kw_only=True):
    """A container that runs."""

    started_at: datetime | None = None


class Terminated(Read, frozen=True, kw_only=True):
    """A container that has ended; `message` is the termination message, or the last log lines in its place."""

    exit_code: int
    reason: str = ""
    message: str = ""
    finished_at: datetime | None = None


class ContainerState(Read, frozen=True, kw_only=True):
    """At most one of the three is set."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(Read, frozen=True, kw_only=True):
    """What the kubelet says of one container."""

    name: str
    state: ContainerState = ContainerState()


class PodCondition(Read, frozen=True, kw_only=True):
    """One pod condition."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


class SchedulingGate(Read, frozen=True, kw_only=True):
    """What has to be taken off before a node is chosen."""

    name: str


class PodSpec(Read, frozen=True, kw_only=True):
    """The part of a pod's spec the operator reads back."""

    node_name: str | None = None
    scheduling_gates: tuple[SchedulingGate, ...] = ()


class PodStatus(Read, frozen=True, kw_only=True):
    """The part of a pod's status the operator reads."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: tuple[PodCondition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    """Of containers that somebody has put before the runner's: the operator makes none."""


ANNOTATION_DIGEST: Final = f"{contract.GROUP}/spec-digest"
"""Digest of all a pod is made from but its attempt: a pod that has not started and has another one is replaced."""


class Annotations(Read, frozen=True, kw_only=True):
    """The one that is read back. The assignment, of up to 200 KiB, is never held: there are thousands of pods."""

    digest: str | None = msgspec.field(name=ANNOTATION_DIGEST, default=None)


class PodMetadata(Metadata, frozen=True, kw_only=True):
    """The part of a pod's metadata the operator reads."""

    annotations: Annotations = Annotations()


class Pod(Read, frozen=True, kw_only=True):
    """A pod, live or as last seen before it went."""

    metadata: PodMetadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def attempt(self) -> int | None:
        """The attempt on its label; None where the label is missing or no number."""
        label = self.metadata.labels.get(contract.LABEL_ATTEMPT, "")
        return int(label) if label.isdecimal() else None

    @property
    def task(self) -> str | None:
        """The task's name on its label, by which its pods are found."""
        return self.metadata.labels.get(contract.LABEL_TASK)

    def made_from_other(self, digest: str | None) -> bool:
        """Whether it was made from another spec than that of this digest; None, on either side, tells nothing."""
        own = self.metadata.annotations.digest
        return own is not None and digest is not None and own != digest

    @property
    def runner(self) -> ContainerState:
        """State of the container `runner`; empty until the kubelet has reported."""
        found = (one.state for one in self.status.container_statuses if one.name == contract.CONTAINER)
        return next(found, ContainerState())

    @property
    def started(self) -> bool:
        """Whether the runner ever ran."""
        return self.runner.running is not None or self.runner.terminated is not None

    @property
    def stuck(self) -> ContainerStatus | None:
        """The container that the kubelet cannot start, and says why: the runner's, or one before it."""
        if self.started:
            return None
        own = (one for one in self.status.container_statuses if one.name == contract.CONTAINER)
        both = (*self.status.init_container_statuses, *own)
        return next((one for one in both if one.state.waiting and one.state.waiting.reason not in _ON_ITS_WAY), None)

    @property
    def failed_before(self) -> ContainerStatus | None:
        """The container before the runner's whose failure ended the pod."""
        if self.started or self.status.phase != "Failed":
            return None
        ended = ((one, one.state.terminated) for one in self.status.init_container_statuses)
        return next((one for one, end in ended if end is not None and end.exit_code != 0), None)

    @property
    def over(self) -> bool:
        """Whether the pod holds no running container any more."""
        return self.status.phase in {"Failed", "Succeeded"}

    @property
    def ended(self) -> bool:
        """Whether the attempt is over here: a pod kept alive by an injected sidecar counts as ended too."""
        return self.over or self.runner.terminated is not None

    @property
    def held(self) -> bool:
        """Whether another container keeps the pod running: an injected sidecar that nobody told to stop."""
        return any(
            one.state.running is not None for one in self.status.container_statuses if one.name != contract.CONTAINER
        )

    @property
    def held_up_since(self) -> datetime | None:
        """Since when its node has been setting it up, volumes and network; None before, and once that is done."""
        ready, placed = self.condition("PodReadyToStartContainers"), self.condition("PodScheduled")
        if self.ended or ready is None or ready.status != "False" or placed is None or placed.status != "True":
            return None
        return placed.last_transition_time

    def condition(self, kind: str) -> PodCondition | None:
        """The condition of that type."""
        return next((one for one in self.status.conditions if one.type == kind), None)

    def owned_by(self, uid: str) -> bool:
        """Whether the object with that UID is its controller."""
        return any(owner.uid == uid and owner.controller for owner in self.metadata.owner_references)


class Complaint(Read, frozen=True, kw_only=True):
    """What a kubelet says of a pod it cannot set up, in an Event: the pod's own status says nothing of it."""

    reason: str
    note: str = ""
    deprecated_last_timestamp: datetime | None = None

    @property
    def of_setup(self) -> bool:
        """Whether it is about volumes or network."""
        return self.reason in {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}


def read_pod(raw: Mapping[str, Any]) -> Pod:
    """Parse a pod as the API server sent it."""
    return msgspec.convert(raw, Pod)


def newest_complaint(raw: Iterable[Mapping[str, Any]]) -> Complaint | None:
    """Of a pod's Events, as the API server sent them, the last that tells why it cannot be set up."""
    found = [one for one in msgspec.convert(list(raw), list[Complaint]) if one.of_setup and one.note]
    return max(found, key=lambda one: one.deprecated_last_timestamp or _EPOCH, default=None)


_ON_ITS_WAY: Final = {"", "ContainerCreating", "PodInitializing"}
"""Why a container waits whose turn has not come."""
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
