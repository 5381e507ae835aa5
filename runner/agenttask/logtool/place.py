"""Where to look: a store, with what opens it, and a path in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from agenttask.contract import Location
from agenttask.errors import Misconfigured, NotFound
from agenttask.store import Store, open_store
from agenttask.store.address import location_of


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a task's status says of its newest record: a lower bound of what the log must hold."""

    key: str
    seq: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the cluster knows of the task whose log it is."""

    keep_last: int
    checkpoint: Checkpoint | None


@dataclass(frozen=True, kw_only=True)
class Place:
    """A path in a store: a log's prefix, or what lies above some logs."""

    location: Location
    path: str
    """Without slashes at its ends; empty for all of the store."""
    environment: Mapping[str, str] = field(repr=False)
    """Has the keys."""
    task: Known | None = None
    """None if the place was named by an address."""

    def open(self) -> Store:
        """The store."""
        return open_store(self.location, environment=self.environment)

    def address(self, path: str) -> str:
        """How a person names a path of this store."""
        match self.location.type:
            case "s3":
                return f"s3://{self.location.bucket}/{path}"
            case "redis":
                return f"{self.location.endpoint}/{path}"
            case "filesystem":
                return str(Path(self.location.path or "") / path)

    def by(self, endpoint: str) -> Place:
        """The same place, reached by another address."""
        match self.location.type:
            case "filesystem":
                raise Misconfigured("a folder has no endpoint")
            case "redis":
                endpoint = location_of(endpoint, environment={}).endpoint or ""
        return replace(self, location=msgspec.structs.replace(self.location, endpoint=endpoint))


def of_address(address: str, *, environment: Mapping[str, str]) -> Place:
    """The place of a STORE-URL. `Misconfigured`, or `NotFound` for a folder that is not there."""
    location = location_of(address, environment=environment)
    if location.type != "filesystem":
        return Place(location=location, path=location.prefix, environment=environment)
    folder = Path(location.path or "").resolve()
    if not folder.is_dir():
        raise NotFound(f"{folder} is no folder")
    # From the one above, so that a log's prefix is never empty.
    above = msgspec.structs.replace(location, path=str(folder.parent))
    return Place(location=above, path=folder.name, environment=environment)
