"""Everything that was ever seen of a namespace's pods: polling misses a status that stands for a moment."""

from __future__ import annotations

import threading
from types import TracebackType

import httpx

from tests.e2e.harness.kube import Api, Kind, Object


class PodWatch:
    """Records each version of each pod while the `with` block lasts."""

    def __init__(self, *, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._seen: list[Object] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="pod-watch", daemon=True)

    def __enter__(self) -> PodWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def exit_code(self, *, uid: str) -> int | None:
        """The exit code the kubelet reported for the pod's runner, once it has."""
        for pod in list(self._seen):
            for container in pod.get("status", {}).get("containerStatuses", []):
                ended = container.get("state", {}).get("terminated")
                if pod["metadata"]["uid"] == uid and ended:
                    return int(ended["exitCode"])
        return None

    def _follow(self) -> None:
        path = Kind.POD.path(namespace=self._namespace)
        while not self._stop.is_set():
            try:
                for event in self._api.watch(path, seconds=2):
                    self._seen.append(event["object"])
            except httpx.TransportError:  # the server ended the watch
                continue
