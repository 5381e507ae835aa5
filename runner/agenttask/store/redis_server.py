"""Pure: what a Redis server says of itself → whether a checkpoint log may lie on it, and what its writes wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from agenttask.errors import Misconfigured

_WAITAOF_SINCE: Final = (7, 2)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What INFO says, as far as it matters here."""

    version: tuple[int, ...]
    primary: bool
    cluster: bool
    memory_policy: str
    aof: bool
    """Whether there is an append-only file."""
    syncs: str = ""
    """When it is synced (`appendfsync`); looked up only where that matters."""

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Facts:
        """From INFO, parsed."""
        return cls(
            version=tuple(int(part) for part in str(info.get("redis_version", "0")).split(".") if part.isdigit()),
            primary=info.get("role", "master") == "master",
            cluster=bool(info.get("cluster_enabled", 0)),
            memory_policy=str(info.get("maxmemory_policy", "noeviction")),
            aof=bool(info.get("aof_enabled", 0)),
        )

    @property
    def knows_waitaof(self) -> bool:
        return self.version >= _WAITAOF_SINCE

    def syncing(self, when: str) -> Facts:
        """The same with `appendfsync`."""
        return replace(self, syncs=when)

    def waits(self, *, aof: bool, replicas: int) -> tuple[str | int, ...]:
        """The command that waits for what a write needs, without its timeout; empty if nothing is to be waited for.

        A server that syncs always answers no write before it is on its disk.
        """
        if aof and self.knows_waitaof:
            return ("WAITAOF", 1, replicas)
        return ("WAIT", replicas) if replicas else ()


def refuse_unfit(facts: Facts, *, aof: bool) -> None:
    """Raise `Misconfigured`, saying what to change, if a log would not be safe there."""
    if facts.cluster:
        raise Misconfigured("the server is part of a Redis Cluster; a checkpoint log needs one with a single primary")
    if not facts.primary:
        raise Misconfigured("the server is a read-only replica; give the address of its primary")
    if facts.memory_policy != "noeviction":
        raise Misconfigured(
            f"the server's maxmemory-policy is {facts.memory_policy}, which throws away logs when memory is short; "
            "set it to noeviction"
        )
    if not aof:
        return
    if not facts.aof:
        raise Misconfigured(
            "the server keeps no append-only file, so a restart loses what it acknowledged; set appendonly to yes, "
            "or accept the loss with durability.aof: false"
        )
    # Whatever WAITAOF says then: Redis 7.4, and Valkey to this day, let it return before the sync.
    if facts.syncs != "always":
        raise Misconfigured(
            f"the server's appendfsync is {facts.syncs or 'not known'}, so a power cut may lose the last second of "
            "what it acknowledged; set it to always, or accept the loss with durability.aof: false"
        )
