"""A store in a folder: an object is a file, put-if-absent is a hard link.

A file is written and synced under a temporary name, then linked to its own: the link fails if the name is taken, and a
reader never sees half a file. A killed writer may leave a temporary file (its name starts with a dot); nobody reads it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from agenttask.errors import Absent, Denied, Exists, Misconfigured, NotFound, StoreError, TooLarge, Unavailable
from agenttask.store.base import Entry

_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_UNFIT = frozenset(
    {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
)


class FilesystemStore:
    """Objects as files under `root`, which the first put creates."""

    def __init__(self, *, root: str | Path) -> None:
        self._root = Path(root)

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        return await asyncio.to_thread(self._get, key, max_bytes)

    async def put_if_absent(self, key: str, body: bytes, *, first: bool) -> None:
        await asyncio.to_thread(self._put, key, body, first)

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return await asyncio.to_thread(self._list, prefix, after)

    async def close(self) -> None:
        return None

    def _get(self, key: str, max_bytes: int) -> bytes:
        path = self._path(key)
        try:
            with path.open("rb") as file:
                if (size := os.fstat(file.fileno()).st_size) > max_bytes:
                    raise TooLarge(f"{path} has {size} bytes, more than {max_bytes}")
                return file.read()
        except FileNotFoundError:
            raise Absent(str(path)) from None
        except OSError as error:
            raise _translated(error) from error

    def _put(self, key: str, body: bytes, first: bool) -> None:
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            if first:
                _make_folder(path.parent)
            try:
                _write_synced(temporary, body)
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    # The file there may be ours from a try whose sync failed: whoever then reads it takes it for
                    # durable, so it has to be.
                    _sync_folder(path.parent)
                    raise Exists(str(path)) from None
                _sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
        except FileNotFoundError as error:
            raise NotFound(f"{path.parent} is gone") from error
        except OSError as error:
            raise _translated(error) from error

    def _list(self, prefix: str, after: str | None) -> Sequence[Entry]:
        folder = self._path(prefix)
        try:
            with os.scandir(folder) as files:
                return sorted(
                    Entry(key=key, size=file.stat().st_size)
                    for file in files
                    if not file.name.startswith(".")
                    and ((key := prefix + file.name) > (after or ""))
                    and file.is_file()
                )
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not folder.exists():
                return []
            raise _translated(error) from error

    def _path(self, key: str) -> Path:
        if ".." in key.split("/") or key.startswith("/"):
            raise Misconfigured(f"{key!r} leads out of {self._root}")
        return self._root / key


def _write_synced(path: Path, body: bytes) -> None:
    with path.open("xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    """Create the folder and what lies above it, each durable in its parent."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync_folder(each.parent)


def _sync_folder(folder: Path) -> None:
    """Make the folder's names durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _translated(error: OSError) -> StoreError:
    if error.errno in _DENIED:
        return Denied(str(error))
    if error.errno in _UNFIT:
        return Misconfigured(str(error))
    return Unavailable(str(error))  # a full disk, an I/O error, a stale handle: may pass
