"""Fake nodes: kwok plays their kubelets, so that thousands of pods cost a machine nothing but API calls.

The nodes bear a taint and a label that only this benchmark's pods know. They exist while a run does; what a killed run
left behind is removed by the next one.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from agenttask import contract

from benchmarks.operator import waiting
from benchmarks.operator.api import Api, Object
from tests.cluster import binaries

MARK: Final = "benchmark.example.com/fake"
ENDS: Final = "benchmark.example.com/ends"
"""Label of pods whose container ends by itself."""
DWELL_SECONDS: Final = 1.0
"""How long such a container runs, of a Job and of a task alike."""
NODES: Final = 10
_LEASE_SECONDS: Final = 8
"""The test cluster takes a node for lost after 10 s."""

PLACEMENT: Final[Object] = {
    "nodeSelector": {MARK: "true"},
    "tolerations": [{"key": MARK, "operator": "Exists", "effect": "NoSchedule"}],
}
"""Fields of a pod's spec that put it onto a fake node."""

_NODES_PATH: Final = "/api/v1/nodes"


class Fleet:
    """kwok, and the nodes it plays."""

    def __init__(self, *, api: Api, group: str, kubeconfig: Path, folder: Path) -> None:
        self._api = api
        self._group = group
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Make the nodes and wait until all of them are ready."""
        binaries.provide(binaries.FAKE_NODES)
        stages = Path(__file__).with_name("stages.yaml").read_text()
        config = self._folder / "stages.yaml"
        names = {"$ENDS": ENDS, "$ATTEMPT": f"{self._group}/attempt", "$CONTRACT": str(contract.CONTRACT)}
        for name, value in names.items():
            stages = stages.replace(name, value)
        config.write_text(stages)
        for number in range(NODES):
            await self._api.send("POST", _NODES_PATH, body=_node(f"fake-{number}"))
        with (self._folder / "kwok.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                binaries.program("kwok"),
                f"--kubeconfig={self._kubeconfig}",
                f"--config={config}",
                f"--manage-nodes-with-label-selector={MARK}=true",
                f"--node-lease-duration-seconds={_LEASE_SECONDS}",
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(self._folder)},
            )
        await waiting.until("the fake nodes are ready", self._are_ready, seconds=60, every=0.5)

    async def stop(self) -> None:
        """End kwok and remove the nodes."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        await remove_nodes(self._api)

    async def _are_ready(self) -> bool:
        return all(_is_ready(node) for node in await self._api.list(_NODES_PATH, labelSelector=f"{MARK}=true"))


async def remove_nodes(api: Api) -> None:
    """Remove the fake nodes of this run or of one that was killed."""
    for node in await api.list(_NODES_PATH, labelSelector=f"{MARK}=true"):
        await api.remove(f"{_NODES_PATH}/{node['metadata']['name']}")


def _node(name: str) -> Object:
    return {
        "metadata": {"name": name, "labels": {MARK: "true", "kubernetes.io/hostname": name}},
        "spec": {"taints": [{"key": MARK, "value": "true", "effect": "NoSchedule"}]},
        "status": {"capacity": _SIZE, "allocatable": _SIZE},
    }


_SIZE: Final = {"cpu": "1000", "memory": "4Ti", "pods": "2000"}


def _is_ready(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    tainted = any(one["key"].startswith("node.kubernetes.io/") for one in node["spec"].get("taints", ()))
    return not tainted and any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)
