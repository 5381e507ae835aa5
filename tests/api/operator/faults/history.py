"""All that the API server showed of tasks and pods, in its own order, and what must hold of it at every moment.

Two watches by an admin on the server itself, past the proxy. Versions of all objects count the same revisions, so what
the two show can be put into one order.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final, Self

import httpx
from agenttask import contract

from tests.api.client import MERGE, Object
from tests.api.crd.installed import Copy
from tests.api.waiting import until

TERMINAL: Final = frozenset({"Completed", "Failed", "Cancelled"})
_ENDED: Final = frozenset({"Succeeded", "Failed"})
_PATIENT: Final = httpx.Timeout(20, read=None)
"""A watch is silent for as long as nothing happens."""
_A_DAY_SECONDS: Final = 86400
_MARK: Final = "marker"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One event of a watch."""

    type: str
    kind: str
    object: Object

    @property
    def version(self) -> int:
        return int(self.object["metadata"]["resourceVersion"])

    @property
    def uid(self) -> str:
        return str(self.object["metadata"]["uid"])


class History:
    """The two watches, from entering on."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy
        self._pods = f"/api/v1/namespaces/{copy.namespace}/pods"
        self._shown: dict[str, list[Shown]] = defaultdict(list)
        self._news = threading.Condition()
        self._marks = itertools.count(1)
        self._seen: dict[str, set[int]] = {"task": set(), "pod": set()}
        self._ended = False

    def __enter__(self) -> Self:
        admin = self._copy.admin
        self._copy.create(name=_MARK, spec={"prompt": "Hello.", "suspend": True})
        pod = {"schedulerName": "nobody", **_RESTRICTED}
        admin.must("POST", self._pods, body={"metadata": {"name": _MARK}, "spec": pod})
        # On threads: they outlive the loop of any one test.
        self._http = httpx.Client(base_url=admin.host, verify=admin.context, timeout=_PATIENT, trust_env=False)
        self._threads = [
            # From now on, whenever the thread begins.
            threading.Thread(target=self._watch, args=(kind, path, self._version(path)), daemon=True)
            for kind, path in (("task", self._copy.path()), ("pod", self._pods))
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        admin = self._copy.admin
        admin.send("DELETE", self._copy.path(task=_MARK))
        admin.send("DELETE", f"{self._pods}/{_MARK}", body={"gracePeriodSeconds": 0})
        for thread in self._threads:
            thread.join(10)
        self._http.close()

    def of(self, *names: str) -> list[Shown]:
        """Everything shown of the tasks of these names and their pods, up to now, in order; it is then forgotten."""
        mark = next(self._marks)
        for path in (self._copy.path(task=_MARK), f"{self._pods}/{_MARK}"):
            # Of marks set at the same time the last one written need not be the highest: each is a field of its own.
            body = {"metadata": {"annotations": {f"mark-{mark}": "set"}}}
            self._copy.admin.must("PATCH", path, body=body, content_type=MERGE)
        until("the watches have shown everything", lambda: all(mark in self._seen[kind] for kind in ("task", "pod")))
        mine = [one for name in names for one in self._shown.pop(name, [])]
        return sorted(mine, key=lambda one: one.version)

    def following(self, name: str, *, seen: int, seconds: float) -> list[Shown]:
        """What has been shown of the task of this name and its pods since the first `seen`; waits for something."""
        with self._news:
            self._news.wait_for(lambda: len(self._shown[name]) > seen, timeout=seconds)
            return self._shown[name][seen:]

    def _version(self, path: str) -> str:
        return str(self._copy.admin.must("GET", path, limit="1")["metadata"]["resourceVersion"])

    def _watch(self, kind: str, path: str, version: str) -> None:
        params = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(_A_DAY_SECONDS)}
        with contextlib.suppress(httpx.HTTPError), self._http.stream("GET", path, params=params) as stream:
            for line in stream.iter_lines():
                event = json.loads(line)
                one = Shown(type=event["type"], kind=kind, object=event["object"])
                meta = one.object["metadata"]
                if meta["name"] == _MARK:
                    marks = meta.get("annotations", {})
                    self._seen[kind] |= {int(one.removeprefix("mark-")) for one in marks}
                    if self._ended:
                        return
                else:
                    with self._news:
                        self._shown[_task_of(one)].append(one)
                        self._news.notify_all()


_RESTRICTED: Final[dict[str, Any]] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "none",
            "image": "none.invalid/none",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}


def _task_of(one: Shown) -> str:
    meta = one.object["metadata"]
    return str(meta["name"] if one.kind == "task" else meta.get("labels", {}).get(contract.LABEL_TASK, ""))


@dataclass(kw_only=True)
class Trace:
    """What a history comes to."""

    created: list[str] = field(default_factory=list)
    """Pods, as `<which task of the name>-<attempt>`."""
    deleted: list[str] = field(default_factory=list)
    """Those whose deletion somebody asked for while they lived and their task existed."""
    swept: list[str] = field(default_factory=list)
    """Those that had ended before."""
    faults: list[str] = field(default_factory=list)
    """What must never be."""


def trace(history: list[Shown], *, final: dict[str, Object]) -> Trace:
    """Judge a history.

    Args:
        history: in order.
        final: the tasks as they are at its end, by UID.
    """
    return _Judging(final=final).judge(history)


class _Judging:
    def __init__(self, *, final: dict[str, Object]) -> None:
        self._final = final
        self._made = Trace()
        self._statuses: dict[str, Object] = {}
        self._which: dict[str, int] = {}
        self._pods: dict[str, Object] = {}
        self._live: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._seen_names: dict[str, int] = defaultdict(int)
        self._created_at: dict[str, str] = {}

    def judge(self, history: list[Shown]) -> Trace:
        for one in history:
            if one.kind == "task":
                self._task(one)
            else:
                self._pod(one)
        self._end()
        self._made.created.sort()
        self._made.deleted.sort()
        self._made.swept.sort()
        return self._made

    def _task(self, one: Shown) -> None:
        meta, status = one.object["metadata"], one.object.get("status", {})
        if one.uid not in self._which:
            self._seen_names[meta["name"]] += 1
            self._which[one.uid] = self._seen_names[meta["name"]]
        before = self._statuses.get(one.uid, {})
        if one.type == "DELETED":
            return
        if status.get("attempt", 0) < before.get("attempt", 0):
            self._made.faults.append(f"the attempt fell from {before['attempt']} to {status.get('attempt')}")
        if before.get("phase") in TERMINAL and status.get("phase") != before["phase"]:
            self._made.faults.append(f"the terminal phase {before['phase']} was left")
        recorded = status.get("podUID")
        if recorded is not None and recorded != before.get("podUID"):
            pod = self._pods.get(recorded)
            if pod is None or _owner(pod) != one.uid or _attempt(pod) != str(status["attempt"]):
                self._made.faults.append(f"the pod recorded for attempt {status['attempt']} is not its own")
        self._statuses[one.uid] = status

    def _pod(self, one: Shown) -> None:
        owner, attempt = _owner(one.object), _attempt(one.object)
        if owner is None:
            return
        name = f"{self._which.get(owner, 0)}-{attempt}"
        doomed = one.type == "DELETED" or "deletionTimestamp" in one.object["metadata"]
        known = self._pods.get(one.uid)
        if known is None:
            self._made.created.append(name)
            recorded = self._statuses.get(owner, {}).get("attempt", 0)
            if int(attempt) > recorded:
                self._made.faults.append(f"pod {attempt} was made while attempt {recorded} was recorded")
        if doomed and (known is None or "deletionTimestamp" not in known["metadata"]) and owner in self._final:
            ended = one.object.get("status", {}).get("phase") in _ENDED
            (self._made.swept if ended else self._made.deleted).append(name)
        self._pods[one.uid] = one.object
        live = self._live[owner, attempt]
        live.discard(one.uid)
        if not doomed and one.object.get("status", {}).get("phase") not in _ENDED:
            live.add(one.uid)
        if len(live) > 1:
            self._made.faults.append(f"{len(live)} live pods of attempt {attempt}")

    def _end(self) -> None:
        for (owner, attempt), live in self._live.items():
            task = self._final.get(owner)
            if not live or task is None:
                continue
            status = task.get("status", {})
            if status.get("phase") in TERMINAL or str(status.get("attempt")) != attempt:
                self._made.faults.append(f"a live pod of attempt {attempt} is left: {status.get('phase')}")


def _owner(pod: Object) -> str | None:
    owners = pod["metadata"].get("ownerReferences", [])
    return owners[0]["uid"] if owners else None


def _attempt(pod: Object) -> str:
    return str(pod["metadata"].get("labels", {}).get(contract.LABEL_ATTEMPT, "0"))
