"""What AgentTasks and pods have in common."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Read(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all objects read: camelCase, unknown fields ignored."""


class Owner(Read, frozen=True, kw_only=True):
    """One owner reference."""

    uid: str
    controller: bool = False


class Metadata(Read, frozen=True, kw_only=True):
    """The part of ObjectMeta the operator reads."""

    name: str
    namespace: str
    uid: str
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()
    finalizers: tuple[str, ...] = ()
