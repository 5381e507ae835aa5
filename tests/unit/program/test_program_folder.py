"""A program's folder: what is stored of it, what is not, and that it comes back as it was."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agenttask.agent.events import Item, Stored
from agenttask.agent.reducer import reduce
from agenttask.agent.state import Program, State
from agenttask.errors import FolderUnusable
from agenttask.log import Content, Pieces
from agenttask.program import folder as module
from agenttask.program.folder import INLINE_BYTES, INLINE_TOTAL, Folder, Look, clear, put_back

LATER = 2**62
"""A time by which every change has settled: true if `tick` comes before the next."""


class Contents:
    """What is attached, in memory."""

    def __init__(self) -> None:
        self.held: dict[Content, bytes] = {}
        self.attached = 0

    async def attach(self, source: Pieces) -> Content:
        body = b"".join(source())
        content = Content(digest=hashlib.sha256(body).hexdigest(), size=len(body))
        self.held[content] = body
        self.attached += 1
        return content

    async def read(self, content: Content) -> AsyncGenerator[bytes, None]:
        yield self.held[content]


class Kept:
    """A folder, and what is stored of it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "state"
        self.root.mkdir()
        self.contents = Contents()
        self.folder = Folder(root=self.root, attach=self.contents.attach)
        self.state = State(started=True, program=Program())

    @property
    def items(self) -> tuple[Item, ...]:
        assert self.state.program is not None
        return self.state.program.items

    async def look(self, *, now_ns: int = 0) -> Look:
        return await self.folder.look(self.items, now_ns=now_ns)

    async def store(self, *, now_ns: int = 0) -> Look:
        look = await self.look(now_ns=now_ns)
        self.state = reduce(self.state, Stored(changed=look.changed, gone=look.gone), seq=1)
        return look

    async def restored(self) -> Path:
        """Another folder, made of what is stored."""
        other = self.root.with_name("other")
        if other.exists():
            clear(other)
        other.mkdir()
        through = msgspec.json.decode(msgspec.json.encode(self.items), type=tuple[Item, ...])
        await put_back(through, root=other, read=self.contents.read)
        return other


def tree(root: Path) -> dict[str, Any]:
    """All that is in a folder: content, target or kind, each with its mode."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name, mode = str(path.relative_to(root)), path.lstat().st_mode & 0o777
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = (mode, path.read_bytes() if path.is_file() else "folder")
    return found


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def furnish(root: Path) -> None:
    (root / "empty").mkdir()
    (root / "deep/er").mkdir(parents=True)
    (root / "deep/er/small").write_text("small")
    (root / "deep/er/nothing").touch()
    (root / "large").write_bytes(os.urandom(INLINE_BYTES + 1))
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o750)
    (root / "link").symlink_to("deep/er/small")
    (root / "nowhere").symlink_to("/no/such/place")
    (root / "deep/up").symlink_to("..")
    (root / "dürre Ähren").write_text("wogen")
    (root / "sealed").mkdir()
    (root / "sealed/inside").write_text("x")
    (root / "sealed").chmod(0o550)


async def test_a_folder_comes_back_with_modes_links_and_empty_folders(kept: Kept) -> None:
    furnish(kept.root)
    await kept.store()
    assert tree(await kept.restored()) == tree(kept.root)


async def test_links_are_kept_and_never_followed(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (kept.root / "out").symlink_to(tmp_path / "outside")
    look = await kept.store()
    assert [item.path for item in look.changed] == ["out"]
    assert kept.contents.held == {}


CHANGES: dict[str, tuple[Callable[[Path], Any], tuple[set[str], set[str]]]] = {
    "nothing": (lambda _: None, (set(), set())),
    "a file written anew with the same content": (lambda root: replaced(root / "run.sh"), (set(), set())),
    "a file rewritten": (lambda root: (root / "deep/er/small").write_text("other"), ({"deep/er/small"}, set())),
    "a file of the same size and time": (lambda root: same_time(root / "deep/er/small"), ({"deep/er/small"}, set())),
    "a mode": (lambda root: (root / "run.sh").chmod(0o700), ({"run.sh"}, set())),
    "a file gone": (lambda root: (root / "large").unlink(), (set(), {"large"})),
    "a folder gone": (lambda root: clear(root / "sealed"), (set(), {"sealed", "sealed/inside"})),
    "a file moved": (lambda root: (root / "large").rename(root / "moved"), ({"moved"}, {"large"})),
    "a link turned": (lambda root: turned(root / "link"), ({"link"}, set())),
    "a file that is a folder now": (lambda root: refolded(root / "large"), ({"large", "large/in"}, set())),
    "a folder that is a file now": (lambda root: flattened(root / "empty"), ({"empty"}, set())),
}  # fmt: skip


def replaced(path: Path) -> None:
    body, mode = path.read_bytes(), path.stat().st_mode
    path.with_suffix(".new").write_bytes(body)
    path.with_suffix(".new").chmod(mode & 0o777)
    path.with_suffix(".new").rename(path)


def same_time(path: Path) -> None:
    times = path.stat()
    path.write_text("SMALL")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def turned(path: Path) -> None:
    path.unlink()
    path.symlink_to("run.sh")


def refolded(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "in").touch()


def flattened(path: Path) -> None:
    path.rmdir()
    path.write_text("flat")


def tick(root: Path) -> None:
    """Let the file system's clock move on, which on some kernels takes milliseconds: the next change has a new time."""
    hand = root.with_name("hand")
    hand.touch()
    before = hand.stat().st_ctime_ns
    while hand.stat().st_ctime_ns == before:
        hand.touch()


@pytest.mark.parametrize("settled", [0, LATER], ids=["just written", "long since"])
@pytest.mark.parametrize("sentence", CHANGES)
async def test_what_differs_is_stored_and_nothing_else(kept: Kept, sentence: str, settled: int) -> None:
    furnish(kept.root)
    await kept.store(now_ns=settled)
    change, want = CHANGES[sentence]
    tick(kept.root)
    change(kept.root)
    look = await kept.store(now_ns=settled)
    assert ({item.path for item in look.changed}, set(look.gone)) == want
    assert tree(await kept.restored()) == tree(kept.root)


async def test_a_file_that_has_long_been_as_it_is_is_not_read_again(kept: Kept) -> None:
    (kept.root / "large").write_bytes(bytes(INLINE_BYTES + 1))
    await kept.store(now_ns=LATER)
    await kept.store(now_ns=LATER)
    assert kept.contents.attached == 1


async def test_a_file_that_has_just_been_written_is_read_again(kept: Kept) -> None:
    (kept.root / "large").write_bytes(bytes(INLINE_BYTES + 1))
    await kept.store(now_ns=0)
    await kept.store(now_ns=0)
    assert kept.contents.attached == 2


async def test_what_was_looked_at_and_not_stored_is_stored_the_next_time(kept: Kept) -> None:
    (kept.root / "file").write_text("one")
    await kept.store(now_ns=LATER)
    tick(kept.root)
    (kept.root / "file").write_text("two")
    await kept.look(now_ns=LATER)
    look = await kept.look(now_ns=LATER)
    assert [item.content for item in look.changed] == [b"two"]


async def test_many_small_files_do_not_all_lie_in_the_record(kept: Kept) -> None:
    for number in range(2 + INLINE_TOTAL // INLINE_BYTES):
        (kept.root / f"{number:03d}").write_bytes(number.to_bytes(INLINE_BYTES, "big"))
    await kept.store()
    assert sum(len(item.content or b"") for item in kept.items) <= INLINE_TOTAL
    assert kept.contents.attached == 2
    assert tree(await kept.restored()) == tree(kept.root)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a socket": (lambda root: a_socket(root / "s"), "s is a socket"),
    "a pipe": (lambda root: os.mkfifo(root / "s"), "s is a pipe"),
    "a name that is no text": (
        lambda root: Path(os.fsdecode(os.fsencode(root) + b"/\xff")).touch(),
        r"'\udcff' has a name that is not UTF-8",
    ),
    "a link to a name that is no text": (
        lambda root: (root / "s").symlink_to(os.fsdecode(b"\xff")),
        "s leads to a name that is not UTF-8",
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
async def test_what_cannot_be_kept_is_named_and_the_rest_is_kept(kept: Kept, sentence: str) -> None:
    make, words = REFUSED[sentence]
    (kept.root / "file").write_text("x")
    make(kept.root)
    look = await kept.store()
    assert look.refusal == words
    assert [item.path for item in kept.items] == ["file"]


async def test_a_file_that_became_a_socket_is_kept_as_it_was(kept: Kept) -> None:
    (kept.root / "s").write_text("x")
    await kept.store()
    (kept.root / "s").unlink()
    a_socket(kept.root / "s")
    look = await kept.store()
    assert (look.gone, look.changed) == ((), ())
    assert [item.content for item in kept.items] == [b"x"]


async def test_a_folder_with_too_much_in_it_is_refused_by_number(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ITEMS", 2)
    for name in "abc":
        (kept.root / name).touch()
    with pytest.raises(FolderUnusable, match="more than 2 files"):
        await kept.look()


async def test_a_disk_that_takes_no_more_is_said(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    (kept.root / "file").write_text("x")
    await kept.store()
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(FolderUnusable, match=r"cannot be restored: .*No space left"):
        await kept.restored()


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("path", ["../out", "/out", "a/../../out"])
async def test_nothing_is_restored_outside_the_folder(kept: Kept, path: str) -> None:
    with pytest.raises(FolderUnusable, match="does not lie in it"):
        await put_back([Item(path=path, digest="d", content=b"")], root=kept.root, read=kept.contents.read)


async def test_a_file_that_is_renamed_while_it_is_looked_at_is_found_under_its_new_name(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kept.root / "a").write_text("x")
    read = module._small

    def renamed(path: Path) -> bytes | None:
        if path.exists() and path.name == "a":
            path.rename(path.with_name("0"))
        return read(path)

    monkeypatch.setattr(module, "_small", renamed)
    await kept.store()
    assert [item.path for item in kept.items] == ["0"]
