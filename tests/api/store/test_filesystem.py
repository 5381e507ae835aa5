"""What can go wrong with a folder, and which error says so."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from agenttask.errors import Denied, Exists, Misconfigured, NotFound, StoreError, Unavailable
from agenttask.store import filesystem
from agenttask.store.filesystem import FilesystemStore


async def test_a_folder_that_vanished_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    store = FilesystemStore(root=tmp_path / "store")
    await store.put_if_absent("a/1", b"x", first=True)
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(NotFound):
        await store.put_if_absent("a/2", b"x", first=False)
    assert not (tmp_path / "store").exists()


ERRORS: dict[str, tuple[str, int, type[StoreError]]] = {
    "a full disk may pass": ("fsync", errno.ENOSPC, Unavailable),
    "an exhausted quota may pass": ("fsync", errno.EDQUOT, Unavailable),
    "an I/O error may pass": ("fsync", errno.EIO, Unavailable),
    "a read-only file system is denied": ("link", errno.EROFS, Denied),
    "a missing permission is denied": ("link", errno.EACCES, Denied),
    "a file system without hard links is unfit": ("link", errno.ENOTSUP, Misconfigured),
}


@pytest.mark.parametrize(("call", "number", "error"), ERRORS.values(), ids=ERRORS.keys())
async def test_what_the_system_says_becomes_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, error: type[StoreError]
) -> None:
    store = FilesystemStore(root=tmp_path)
    await store.put_if_absent("a/1", b"x", first=True)

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(error):
            await store.put_if_absent("a/2", b"x", first=False)
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["1"], "no temporary file is left"


async def test_a_file_in_the_place_of_a_folder_is_misconfigured(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = FilesystemStore(root=tmp_path / "file")
    for call in (
        store.get("a/1", max_bytes=1),
        store.list("a/", after=None),
        store.put_if_absent("a/1", b"", first=True),
    ):
        with pytest.raises(Misconfigured):
            await call


async def test_a_key_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    store = FilesystemStore(root=tmp_path / "store")
    for key in ("../a", "a/../../b", "/etc/a"):
        with pytest.raises(Misconfigured, match="leads out"):
            await store.put_if_absent(key, b"x", first=True)


async def test_a_refused_put_makes_sure_that_what_is_there_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier try may have linked the file and failed to sync the folder: its writer will now take it for done."""
    store = FilesystemStore(root=tmp_path)
    await store.put_if_absent("a/1", b"x", first=True)
    synced: list[Path] = []
    sync = filesystem._sync_folder

    def watch(folder: Path) -> None:
        synced.append(folder)
        sync(folder)

    monkeypatch.setattr(filesystem, "_sync_folder", watch)
    with pytest.raises(Exists):
        await store.put_if_absent("a/1", b"x", first=False)
    assert synced == [tmp_path / "a"]


async def test_temporary_files_of_killed_writers_are_not_listed(tmp_path: Path) -> None:
    store = FilesystemStore(root=tmp_path)
    await store.put_if_absent("a/1", b"x", first=True)
    (tmp_path / "a" / ".2.0123456789abcdef").write_bytes(b"half")
    assert [entry.key for entry in await store.list("a/", after=None)] == ["a/1"]
    await store.put_if_absent("a/2", b"whole", first=False)
