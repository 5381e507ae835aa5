"""The operator's process as the benchmark starts it: the real one, under another API group, with its calls counted.

    python -m benchmarks.operator.launched GROUP FACTS [PROFILE]

On SIGUSR1 it writes what it has counted to the file FACTS, and at its end too. With PROFILE it runs under cProfile and
leaves the statistics there.
"""

from __future__ import annotations

import cProfile
import re
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from agenttask import contract

from benchmarks.operator.facts import Facts

_BEGAN = time.monotonic()


def _rename(group: str) -> None:
    """Before the operator is imported: some of its names are made of the contract's."""
    for name, value in list(vars(contract).items()):
        if isinstance(value, str) and "agenttask.dev" in value:
            setattr(contract, name, value.replace("agenttask.dev", group))


def _kind(path: str) -> str:
    """What a call is about, whatever its name and namespace."""
    found = re.search(r"/(agenttasks|pods|events|leases|validating\w+)(?:/[^/]+)?(/status)?$", path)
    return f"{found[1]}{found[2] or ''}" if found else path


def main() -> None:
    """Run the operator until it is told to stop."""
    group, facts, *profile = sys.argv[1:]
    _rename(group)
    from agenttask_operator import cluster  # noqa: PLC0415
    from agenttask_operator import main as operator  # noqa: PLC0415
    from agenttask_operator.reconcile import Key, Reconciler  # noqa: PLC0415

    cluster.STATUS_POLICY = f"{group}-status"  # type: ignore[misc] # the copy's has a name of its own
    calls: Counter[str] = Counter()
    resyncs: list[tuple[float, float]] = []
    reconciles = 0
    call, reconcile, resync = cluster.Cluster._call, Reconciler.reconcile, operator.resync

    async def counted(self: cluster.Cluster, method: str, path: str, **arguments: Any) -> Any:
        calls[f"{method} {_kind(path)}"] += 1
        return await call(self, method, path, **arguments)

    async def noted(self: Reconciler, key: Key) -> float | None:
        nonlocal reconciles
        reconciles += 1
        return await reconcile(self, key)

    async def timed(**arguments: Any) -> str | None:
        began = time.monotonic()
        silent = await resync(**arguments)
        resyncs.append((began - _BEGAN, time.monotonic() - _BEGAN))
        return silent

    cluster.Cluster._call = counted  # type: ignore[method-assign]
    Reconciler.reconcile = noted  # type: ignore[method-assign]
    operator.resync = timed

    def tell(*_: object) -> None:
        told = Facts(calls=dict(calls), reconciles=reconciles, resyncs=tuple(resyncs))
        fresh = Path(f"{facts}.new")
        fresh.write_bytes(told.encode())
        fresh.replace(facts)

    signal.signal(signal.SIGUSR1, tell)
    # From here on it can be asked; before, the signal would end it.
    tell()
    profiler = cProfile.Profile() if profile else None
    try:
        if profiler is not None:
            profiler.enable()
        operator.main()
    finally:
        tell()
        if profiler is not None:
            profiler.disable()
            profiler.dump_stats(profile[0])


if __name__ == "__main__":
    main()
