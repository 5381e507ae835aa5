"""A store in a folder: an object is a file, put-if-absent is a hard link.

A file is written and synced under a temporary name, then linked to its own, then the folder is synced: the link fails
if the name is taken, and a reader never sees half a file. A temporary name starts with a dot and carries host, process
and a random value; a killed writer may leave one, which nobody reads, and which a later delete in that folder sweeps
away. Deletes are not synced: an object that comes back with a power cut is an orphan like any other.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from agenttask.errors import Absent, Exists, Misconfigured, NotFound, TooLarge, Unavailable
from agenttask.store.base import Entry, Source
from agenttask.store.filesystem_errors import translated, without_links
from agenttask.store.source import pieces

PIECE_BYTES: Final = 1 << 20
ABANDONED_SECONDS: Final = 86400
"""Age from which on a temporary file has no writer any more: a put takes minutes at most."""


class FilesystemStore:
    """Objects as files under `root`, which the first put creates. The volume must have hard links."""

    def __init__(self, *, root: str | Path, now: Callable[[], float] = time.time) -> None:
        self._root = Path(root)
        self._now = now
        self._writer = f"{socket.gethostname()}-{os.getpid()}"
        self._seen: set[Path] = set()
        """Folders met: one that is missing later has vanished, and is not made again."""
        self._durable: set[Path] = set()
        """Folders whose own names are known to be synced, up to the root."""
        self._swept: set[Path] = set()

    async def get(self, key: str, *, max_bytes: int) -> bytes:
        return await asyncio.to_thread(self._get, key, max_bytes)

    async def stream(self, key: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        path = self._path(key)
        file = await asyncio.to_thread(_opened, path)
        try:
            await asyncio.to_thread(file.seek, offset)
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece
        except OSError as error:
            raise translated(error, path=path) from error
        finally:
            file.close()

    async def put_if_absent(self, key: str, body: bytes, *, first: bool, last: bool = False) -> None:
        await asyncio.to_thread(self._put, key, body, first)

    async def put_stream_if_absent(self, key: str, source: Source, *, first: bool) -> None:
        path = self._path(key)
        temporary = self._temporary(path)
        try:
            await asyncio.to_thread(self._prepare, path, first)
            await _write_stream(temporary, pieces(source))
            await asyncio.to_thread(self._link, temporary, path)
        except OSError as error:
            raise translated(error, path=path) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._delete, key)

    async def list(self, prefix: str, *, after: str | None) -> Sequence[Entry]:
        return await asyncio.to_thread(self._list, prefix, after)

    async def folders(self, prefix: str) -> Sequence[str]:
        return await asyncio.to_thread(self._folders, prefix)

    async def close(self) -> None:
        return None

    def _get(self, key: str, max_bytes: int) -> bytes:
        path = self._path(key)
        with _opened(path) as file:
            try:
                if (size := os.fstat(file.fileno()).st_size) > max_bytes:
                    raise TooLarge(f"{path} has {size} bytes, more than {max_bytes}")
                return file.read()
            except OSError as error:
                raise translated(error, path=path) from error

    def _put(self, key: str, body: bytes, first: bool) -> None:
        path = self._path(key)
        temporary = self._temporary(path)
        try:
            self._prepare(path, first)
            with temporary.open("xb") as file:
                file.write(body)
                _sync_file(file)
            self._link(temporary, path)
        except OSError as error:
            raise translated(error, path=path) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _prepare(self, path: Path, first: bool) -> None:
        """See to it that the folder of `path` is there and durable, or raise `NotFound`."""
        folder = path.parent
        if folder in self._durable and folder.is_dir():
            return
        log = folder.parent
        if first:
            _make_folder(folder)
        elif not folder.is_dir():
            if folder in self._seen or not log.is_dir():
                raise NotFound(f"{folder} is gone: the log that was there has been removed")
            _make_folder(folder)
        # Another process may have made these folders and not have synced them yet.
        for each in (folder, *folder.parents):
            if each == self._root:
                break
            _sync_folder(each.parent)
        self._seen.add(folder)
        self._durable.add(folder)

    def _link(self, temporary: Path, path: Path) -> None:
        try:
            os.link(temporary, path)
        except FileExistsError:
            # The file there may be ours from a try whose sync failed: whoever then reads it takes it for durable, so
            # it has to be. And on a network volume a link may be made and its answer lost: the repeat is refused.
            ours = temporary.samefile(path)
            _sync_folder(path.parent)
            if not ours:
                raise Exists(str(path)) from None
        except FileNotFoundError as error:
            if path.parent.is_dir():
                raise Unavailable(f"{temporary} was swept away while it was written") from error
            raise NotFound(f"{path.parent} is gone: the log that was there has been removed") from error
        except OSError as error:
            if without_links(error):
                raise Misconfigured(
                    f"the volume of {self._root} has no hard links ({error.strerror}), which put-if-absent needs: "
                    "use one with a POSIX file system (ext4, xfs, NFS)"
                ) from error
            raise
        else:
            _sync_folder(path.parent)

    def _delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise translated(error, path=path) from error
        if path.parent not in self._swept:
            self._swept.add(path.parent)
            self._sweep(path.parent)

    def _sweep(self, folder: Path) -> None:
        with suppress(OSError), os.scandir(folder) as files:
            for file in files:
                if file.name.startswith(".") and file.stat().st_mtime < self._now() - ABANDONED_SECONDS:
                    Path(file.path).unlink(missing_ok=True)

    def _list(self, prefix: str, after: str | None) -> Sequence[Entry]:
        folder = self._path(prefix)
        found = []
        try:
            with os.scandir(folder) as files:
                self._seen.add(folder)
                for file in files:
                    key = prefix + file.name
                    if file.name.startswith(".") or key <= (after or "") or not file.is_file():
                        continue
                    with suppress(FileNotFoundError):  # deleted since
                        found.append(Entry(key=key, size=file.stat().st_size))
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                return []
            raise translated(error, path=folder) from error
        return sorted(found)

    def _folders(self, prefix: str) -> Sequence[str]:
        folder = self._path(prefix)
        try:
            with os.scandir(folder) as files:
                return sorted(f"{prefix}{file.name}/" for file in files if file.is_dir() and file.name[0] != ".")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise translated(error, path=folder) from error

    def _path(self, key: str) -> Path:
        if ".." in key.split("/") or key.startswith("/"):
            raise Misconfigured(f"{key!r} leads out of {self._root}")
        return self._root / key

    def _temporary(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.{self._writer}.{secrets.token_hex(8)}")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise Absent(str(path)) from None
    except OSError as error:
        raise translated(error, path=path) from error


async def _write_stream(path: Path, body: AsyncIterator[bytes]) -> None:
    with await asyncio.to_thread(path.open, "xb") as file:
        async for piece in body:
            await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(_sync_file, file)


def _sync_file(file: BinaryIO) -> None:
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
