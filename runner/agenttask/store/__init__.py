"""Object stores: S3, a folder, and memory for tests. `open_store` picks the one a location names.

The libraries a store needs are imported when that store is opened, so that importing this package costs nothing.
"""

from __future__ import annotations

from agenttask.contract import Location
from agenttask.errors import Misconfigured
from agenttask.store.base import Entry, Store

__all__ = ["Entry", "Store", "open_store"]


def open_store(location: Location) -> Store:
    """The store of a location. Nothing is asked of it yet; `Misconfigured` if the location names no place."""
    if location.type == "s3":
        if not location.bucket:
            raise Misconfigured("the location names no bucket")
        from agenttask.store.s3 import S3Store  # noqa: PLC0415 - see the docstring

        return S3Store(bucket=location.bucket, endpoint=location.endpoint, region=location.region)
    if not location.path:
        raise Misconfigured("the location names no folder")
    from agenttask.store.filesystem import FilesystemStore  # noqa: PLC0415

    return FilesystemStore(root=location.path)
