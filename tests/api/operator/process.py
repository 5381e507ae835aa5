"""The operator's own process, against a copy of its API.

    python process.py GROUP POLICY PORT

Everything else is as in the image: the configuration file, the kubeconfig and POD_NAME by their variables.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from agenttask import contract
from agenttask_operator import cluster, main, settings
from agenttask_operator.reconcile import Reconciler
from msgspec import structs


def operate(*, group: str, policy: str, port: int) -> None:
    """The entry point, for a copy of the API."""
    contract.GROUP = group  # type: ignore[misc]
    cluster.STATUS_POLICY = policy  # type: ignore[misc]
    main.Operator = functools.partial(main.Operator, port=port)  # type: ignore[assignment, misc]
    main.main()


@dataclass(frozen=True, kw_only=True)
class OperatorProcess:
    """The same as a process to be forked (`tests.api.forked`), resyncing more often than a user may ask for."""

    group: str
    policy: str
    environment: dict[str, str]
    log: Path
    resync_seconds: float
    reconciler: type[Reconciler] = Reconciler

    def run(self) -> None:
        """The process's whole life."""
        os.environ.update(self.environment)
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for stream in (1, 2):
            os.dup2(log, stream)
        load = settings.load
        # Fewer than 10 s are refused to users.
        settings.load = lambda path: structs.replace(load(path), resync_seconds=self.resync_seconds)
        vars(main)["Reconciler"] = self.reconciler
        operate(group=self.group, policy=self.policy, port=0)


if __name__ == "__main__":
    operate(group=sys.argv[1], policy=sys.argv[2], port=int(sys.argv[3]))
