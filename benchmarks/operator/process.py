"""The operator as a process of this machine, with the rights the chart gives it, and what that process uses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from benchmarks.operator import waiting
from benchmarks.operator.api import Api
from benchmarks.operator.facts import Facts

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_NOTHING: Final = Facts(calls={}, reconciles=0, resyncs=())


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the process has used until a moment."""

    at: float
    cpu_seconds: float
    rss_mb: float
    peak_mb: float
    facts: Facts


class Operator:
    """One process at a time; it can be stopped and started again.

    Args:
        api: the cluster's admin.
        kubeconfig: the cluster's.
        namespace: of the release whose service account it is.
        group: the API group.
        folder: for its files.
        profile: where cProfile's statistics go; None without.
        workers: how many keys are worked on at once; None for its own default.
    """

    def __init__(
        self,
        *,
        api: Api,
        kubeconfig: Path,
        namespace: str,
        group: str,
        folder: Path,
        profile: Path | None,
        workers: int | None,
    ) -> None:
        self._api = api
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self._account = f"{namespace}-agenttask-operator"
        self._group = group
        self._folder = folder
        self._profile = profile
        self._workers = workers
        self._facts = folder / "facts.json"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> float:
        """Start it and return when, on the clock of `time.monotonic`. It need not be ready yet."""
        config = self._folder / "config.yaml"
        more = {"leaderElection": {"leaseName": self._account}, **({"workers": self._workers} if self._workers else {})}
        config.write_text(yaml.safe_dump({**_CONFIG, **more}))
        identity = self._folder / "operator.kubeconfig"
        identity.write_text(await self._identity())
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBERNETES_")}
        environment |= {
            "AGENTTASK_OPERATOR_CONFIG": str(config),
            "KUBECONFIG": str(identity),
            "POD_NAME": "bench-operator",
            "POD_NAMESPACE": self._namespace,
        }
        words = [self._group, str(self._facts), *([str(self._profile)] if self._profile else [])]
        self._facts.unlink(missing_ok=True)
        with (self._folder / "operator.log").open("ab") as log:
            began = time.monotonic()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.operator.launched", *words), env=environment, stdout=log, stderr=log
            )
        return began

    async def lead(self) -> Usage:
        """Wait until it leads and has judged every task there is."""
        await waiting.until("the operator can be asked", self._can_be_asked, seconds=60)

        async def judged() -> bool:
            return len((await self.usage()).facts.resyncs) > 1

        await waiting.until("the operator has judged everything", judged, seconds=300, every=1)
        return await self.usage()

    async def stop(self) -> None:
        """Tell it to end, and wait for that."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), timeout=30)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def usage(self) -> Usage:
        """What it has used since it started.

        Raises:
            RuntimeError: it has ended.
        """
        assert self._process is not None
        if self._process.returncode is not None:
            raise RuntimeError(f"the operator ended with {self._process.returncode}: see {self._folder}/operator.log")
        proc = Path(f"/proc/{self._process.pid}")
        words = (proc / "stat").read_text().rpartition(")")[2].split()
        lines = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return Usage(
            at=time.monotonic(),
            cpu_seconds=(int(words[11]) + int(words[12])) / _TICKS,
            rss_mb=int(lines["VmRSS"].split()[0]) / 1024,
            peak_mb=int(lines["VmHWM"].split()[0]) / 1024,
            facts=await self._told(),
        )

    async def _told(self) -> Facts:
        assert self._process is not None
        self._facts.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        await waiting.until("the operator tells its facts", self._can_be_asked, seconds=30, every=0.02)
        return Facts.decode(self._facts.read_bytes())

    async def _can_be_asked(self) -> bool:
        if self._process is None or self._process.returncode is not None:
            raise RuntimeError(f"the operator has ended: see {self._folder}/operator.log")
        return self._facts.exists()

    async def _identity(self) -> str:
        """A kubeconfig of the service account: the operator is throttled and authorised as it is in its pod."""
        path = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{self._account}/token"
        made = await self._api.send("POST", path, body={"spec": {"audiences": [], "expirationSeconds": 7200}})
        kept = yaml.safe_load(self._kubeconfig.read_text())
        kept["users"] = [{"name": "operator", "user": {"token": made["status"]["token"]}}]
        for context in kept["contexts"]:
            context["context"]["user"] = "operator"
        return json.dumps(kept)


_CONFIG: Final = {
    # As the Job controller's of the test cluster.
    "clientConnection": {"qps": 500, "burst": 1000},
    "runner": {"image": "none.invalid/runner"},
    "model": {"baseURL": "https://model.invalid/v1", "name": "small"},
    "store": {"s3": {"bucket": "bucket", "credentialsSecretRef": {"name": "none"}}},
}
