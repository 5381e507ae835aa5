"""The operator's own process behind a proxy, started again whenever it ends, as its kubelet does with the container."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self

import yaml
from agenttask_operator.reconcile import Reconciler

from tests.api import forked
from tests.api.crd.installed import Copy
from tests.api.operator.faults.proxy import Proxy
from tests.api.operator.process import OperatorProcess
from tests.api.operator.world import CONFIG


class Container:
    """The process, from entering on. It finds its API server at the proxy.

    Args:
        proxy: its way to the server; a death there is the process's.
        copy: the API, and the namespace it looks after.
        home: the namespace of its lease.
        lease: its name.
        pod: whose container it is: what it writes into the lease.
        token: its own.
        folder: for its files.
        resync_seconds: how often it lists everything.
        reconciler: its own, or that of an operator that is wrong on purpose.
    """

    def __init__(
        self,
        *,
        proxy: Proxy,
        copy: Copy,
        home: str,
        lease: str,
        pod: str,
        token: str,
        folder: Path,
        resync_seconds: float,
        reconciler: type[Reconciler],
    ) -> None:
        self._proxy = proxy
        self._process: ForkServerProcess | None = None
        self.exit_codes: list[int] = []
        """Of each process that has ended; negative for a signal."""
        self.log = folder / "log"
        config = {
            **CONFIG,
            "watchNamespaces": [copy.namespace],
            "leaderElection": {"leaseName": lease},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        who = {
            "clusters": [{"name": "c", "cluster": {"server": proxy.address}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": home}}],
            "current-context": "x",
        }
        (folder / "kubeconfig").write_text(json.dumps(who))
        self._program = OperatorProcess(
            group=copy.group,
            policy=f"{copy.group}-status",
            environment={
                "KUBECONFIG": str(folder / "kubeconfig"),
                "AGENTTASK_OPERATOR_CONFIG": str(folder / "config.yaml"),
                # A container that is started again is the same pod, and need not wait for its own lease.
                "POD_NAME": pod,
                "POD_NAMESPACE": home,
            },
            log=self.log,
            resync_seconds=resync_seconds,
            reconciler=reconciler,
        )

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.lose()

    async def lose(self) -> None:
        """Kill it, and start it no more: its node is gone."""
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)

    def pause(self) -> None:
        """Its process sleeps, as when its machine does."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Its process goes on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def _keep(self) -> None:
        while True:
            process = self._process = await asyncio.to_thread(forked.start, self._program.run)
            try:
                await self._death(process)
            finally:
                process.kill()
                self.exit_codes.append(await asyncio.to_thread(forked.end, process))
            self._proxy.revive()

    async def _death(self, process: ForkServerProcess) -> None:
        """Wait for the proxy to kill it, or for it to end."""
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(process.sentinel, ended.set)
        waits = [asyncio.create_task(one.wait()) for one in (ended, self._proxy.killed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asyncio.get_running_loop().remove_reader(process.sentinel)
            for one in waits:
                one.cancel()
