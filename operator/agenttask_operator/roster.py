"""Which pods there are of each task, as the watch and the listings of pods have shown them.

Pure. A reconcile reads these by name, and an open attempt's whether shown or not. To list a task's pods by label
instead costs the API server a look at every pod of the namespace and, as a consistent read, a wait for news from etcd:
ten times as long as reading one pod, on a server that has nothing else to do.

Nothing is decided on what stands here, only on what is then read. A pod that is missing here has not been shown yet:
its event brings a key and its name, and the next resync's listing does so whatever has become of the watch. A pod too
many costs one read that finds nothing.
"""

from __future__ import annotations

from collections.abc import Set

from agenttask_operator.observed import Pod

Place = tuple[str, str]
"""Namespace and name of a task."""


class Roster:
    """The pods by the task their label names; of whose UID the task really is, the pod itself will say."""

    def __init__(self) -> None:
        self._names: dict[Place, dict[str, str]] = {}
        self._places: dict[str, Place] = {}
        self._complete = False

    def add(self, pod: Pod) -> None:
        """There is this pod."""
        if pod.task is None:
            return
        place = (pod.metadata.namespace, pod.task)
        self._places[pod.metadata.uid] = place
        self._names.setdefault(place, {})[pod.metadata.uid] = pod.metadata.name

    def drop(self, uid: str) -> None:
        """It is gone."""
        place = self._places.pop(uid, None)
        if place is None:
            return
        names = self._names[place]
        names.pop(uid, None)
        if not names:
            del self._names[place]

    def known(self) -> Set[str]:
        """UIDs of all pods that stand here now."""
        return frozenset(self._places)

    def settle(self, *, before: Set[str], listed: Set[str]) -> None:
        """A listing of all pods has ended, and each has been added.

        Args:
            before: what was known when it began; what it then lacks of these is gone.
            listed: UIDs of all it had.
        """
        for uid in before - listed:
            self.drop(uid)
        self._complete = True

    def of(self, *, namespace: str, task: str) -> Set[str] | None:
        """Names of the task's pods; None before the first listing, when nobody can know."""
        if not self._complete:
            return None
        return frozenset(self._names.get((namespace, task), {}).values())
