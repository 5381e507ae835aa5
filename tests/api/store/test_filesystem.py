"""What can go wrong with a folder, and which error says so."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from agenttask.clock import SystemClock
from agenttask.errors import Denied, Exists, Misconfigured, NotFound, StoreError, Unavailable
from agenttask.log import Holder, Kind, Log, Patience
from agenttask.store import filesystem
from agenttask.store.filesystem import FilesystemStore
from agenttask.store.source import of_bytes

from tests.e2e.harness.wait import PATIENCE_SECONDS


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


class Watched:
    """What a store does to its folder, in order, by the names of the system's calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.calls: list[str] = []
        sync, link, unlink = os.fsync, os.link, Path.unlink

        def watched_sync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self.calls.append(f"sync {'temporary' if path.name[0] == '.' else path.relative_to(root)}")
            sync(descriptor)

        def watched_link(old: Path, new: Path) -> None:
            self.calls.append(f"link {new.relative_to(root)}")
            link(old, new)

        def watched_unlink(path: Path, missing_ok: bool = False) -> None:
            self.calls.append("unlink temporary")
            unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(os, "fsync", watched_sync)
        monkeypatch.setattr(os, "link", watched_link)
        monkeypatch.setattr(Path, "unlink", watched_unlink)


@pytest.mark.parametrize("streamed", [False, True], ids=["in one piece", "as a stream"])
async def test_a_body_is_on_disk_before_its_name_and_its_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    store = FilesystemStore(root=tmp_path / "store")
    watched = Watched(monkeypatch, tmp_path)

    async def put(key: str, *, first: bool) -> None:
        if streamed:
            await store.put_stream_if_absent(key, of_bytes(b"x"), first=first)
        else:
            await store.put_if_absent(key, b"x", first=first)

    await put("a/log/1", first=True)
    made = watched.calls.index("sync temporary")
    assert {"sync .", "sync store", "sync store/a"} <= set(watched.calls[:made]), "the folders' own names are durable"
    written = ["sync temporary", "link store/a/log/1", "sync store/a/log", "unlink temporary"]
    assert watched.calls[made:] == written
    watched.calls.clear()
    await put("a/log/2", first=False)
    assert watched.calls == [words.replace("log/1", "log/2") for words in written]
    watched.calls.clear()
    # An earlier try may have linked the file and failed to sync the folder: its writer will now take it for done.
    with pytest.raises(Exists):
        await put("a/log/2", first=False)
    assert watched.calls[-2:] == ["sync store/a/log", "unlink temporary"]


async def test_a_link_that_was_made_and_its_answer_lost_is_known_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network volume the client repeats the request by itself, and is refused."""
    store, link = FilesystemStore(root=tmp_path), os.link

    def made_twice(old: Path, new: Path) -> None:
        link(old, new)
        link(old, new)

    with monkeypatch.context() as network:
        network.setattr(os, "link", made_twice)
        await store.put_if_absent("a/log/1", b"x", first=True)
    assert await store.get("a/log/1", max_bytes=1) == b"x"
    with pytest.raises(Exists):
        await store.put_if_absent("a/log/1", b"x", first=False)


async def test_a_log_knows_its_record_by_reading_when_a_sync_failed_behind_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FilesystemStore(root=tmp_path)
    opened = await Log.open(
        store=store,
        prefix="ns/task/uid",
        task="ns/task",
        attempt=1,
        holder=Holder(pod_uid="pod", process="p"),
        recorded=None,
        clock=SystemClock(),
        patience=Patience(jitter=lambda: 1.0),
    )
    assert opened.log is not None
    sync, failures = filesystem._sync_folder, [errno.EIO]

    def fail_once(folder: Path) -> None:
        if failures:
            raise OSError(failures.pop(), "as the disk says")
        sync(folder)

    monkeypatch.setattr(filesystem, "_sync_folder", fail_once)
    ref = await opened.log.append(kind=Kind.EVENTS, events=[{"text": "t"}], step=1, max_steps=1)
    assert ref.seq == 2
    assert failures == []
    assert [entry.key for entry in await store.list("ns/task/uid/log/", after=ref.key)] == []


@pytest.fixture
def left_behind(tmp_path: Path) -> str:
    """The name of what a writer left that was killed when it was about to link its file."""
    command = [sys.executable, "-m", "tests.api.store.dying_writer", str(tmp_path)]
    writer = subprocess.run(command, check=False, timeout=PATIENCE_SECONDS)
    assert writer.returncode == -signal.SIGKILL
    (left,) = names_in(tmp_path / "a" / "log")
    return left


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def test_a_writer_killed_before_its_link_leaves_nothing_that_counts_and_what_it_leaves_is_swept(
    tmp_path: Path, left_behind: str
) -> None:
    assert left_behind.startswith(f".1.{socket.gethostname()}-"), "who left it, and what it was to be"
    store = FilesystemStore(root=tmp_path)
    assert await store.list("a/log/", after=None) == []
    await store.put_if_absent("a/log/1", b"the living one's", first=True)
    assert await store.get("a/log/1", max_bytes=99) == b"the living one's"

    await store.delete("a/log/0")
    assert left_behind in names_in(tmp_path / "a" / "log"), "its writer may be alive as far as anybody knows"
    later = FilesystemStore(root=tmp_path, now=lambda: time.time() + filesystem.ABANDONED_SECONDS)
    await later.delete("a/log/0")
    assert names_in(tmp_path / "a" / "log") == ["1"]


async def test_no_two_puts_write_the_same_temporary_file_and_its_name_says_whose_it_is(tmp_path: Path) -> None:
    names: set[str] = set()

    class Names(FilesystemStore):
        def _temporary(self, path: Path) -> Path:
            found = super()._temporary(path)
            names.add(found.name)
            return found

    stores = [Names(root=tmp_path) for _ in range(4)]
    await stores[0].put_if_absent("a/log/0", b"", first=True)
    puts = (store.put_if_absent("a/log/1", b"x", first=False) for store in stores for _ in range(4))
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Exists"] * 15 + ["NoneType"]
    assert len(names) == 17
    assert all(f".{socket.gethostname()}-{os.getpid()}." in name for name in names)


async def test_temporary_files_of_killed_writers_are_not_listed(tmp_path: Path) -> None:
    store = FilesystemStore(root=tmp_path)
    await store.put_if_absent("a/1", b"x", first=True)
    (tmp_path / "a" / ".2.0123456789abcdef").write_bytes(b"half")
    assert [entry.key for entry in await store.list("a/", after=None)] == ["a/1"]
    await store.put_if_absent("a/2", b"whole", first=False)
