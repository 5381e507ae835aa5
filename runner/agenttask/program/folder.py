"""A program's folder on the disk: what in it differs from what is stored, and how it is put back.

Each file is taken as it is read: one that is written meanwhile is stored half-written, which is why programs rename
what they have written into its place, or say `agenttask checkpoint` when all is. Links are kept and never followed.
Owners, times and extended attributes are not kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from agenttask.agent.events import Item
from agenttask.errors import ContentCorrupt, FolderUnusable
from agenttask.journal import content_of
from agenttask.log import Content, Pieces

MAX_ITEMS: Final = 10_000
"""Files, links and folders: all are held in memory, and many named in one record."""
INLINE_BYTES: Final = 4096
"""Up to here a file lies in the record itself, and costs no write of its own."""
INLINE_TOTAL: Final = 1 << 20
"""So many bytes of them altogether."""
PIECE: Final = 1 << 20
AT_ONCE: Final = 8
"""Files read and written at the same time."""
LOOKS: Final = 3
"""How often a folder in which files vanish is looked at."""
SETTLED_NS: Final = 1_000_000_000
"""How old a change must be for a later one to have another time, on any file system."""
NAMED: Final = 5
"""Things that cannot be kept, of which a message speaks."""
_KEPT_BITS: Final = 0o777

Attach = Callable[[Pieces], Awaitable[Content]]
"""Make content durable."""
Read = Callable[[Content], AsyncGenerator[bytes, None]]
"""Give it back."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What differs from what was stored; and what cannot be kept, each path with the reason."""

    changed: tuple[Item, ...]
    gone: tuple[str, ...]
    refused: dict[str, str]

    @property
    def refusal(self) -> str:
        """Those in words."""
        named = [f"{path} {why}" for path, why in list(self.refused.items())[:NAMED]]
        more = [f"{len(self.refused) - NAMED} more"] if len(self.refused) > NAMED else []
        return "; ".join([*named, *more])


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What lies under a path, but for a file's content."""

    item: Item
    stamp: tuple[int, ...] | None = None
    """Of a file: it differs where the content may."""
    changed_ns: int = 0


@dataclass(kw_only=True)
class _Looking:
    """What one look has come across."""

    room: int
    """For content in the record."""
    refused: dict[str, str]
    vanished: bool = False


class Folder:
    """One folder, as long as its program runs."""

    def __init__(self, *, root: Path, attach: Attach) -> None:
        self._root = root
        self._attach = attach
        self._known: dict[str, tuple[str, tuple[int, ...]]] = {}
        """The digests of files that need not be read again, as long as they have this stamp."""
        self._places = asyncio.Semaphore(AT_ONCE)

    async def look(self, stored: Sequence[Item], *, now_ns: int) -> Look:
        """What differs from `stored`, its content durable. `now_ns` is the time of day.

        Raises `FolderUnusable` if there is too much in the folder, and store errors.
        """
        for _ in range(LOOKS):
            looking = _Looking(room=INLINE_TOTAL, refused={})
            look = await self._look({item.path: item for item in stored}, looking, now_ns=now_ns)
            if not looking.vanished:  # what a file has been renamed to may have been missed
                break
        return look

    async def _look(self, stored: dict[str, Item], looking: _Looking, *, now_ns: int) -> Look:
        seen = await asyncio.to_thread(lambda: list(_walk(self._root, refused=looking.refused)))
        if len(seen) > MAX_ITEMS:
            raise FolderUnusable(
                f"the program's folder holds more than {MAX_ITEMS} files and folders; pack some into one"
            )
        there = {each.item.path: stored[each.item.path] for each in seen if self._is_known(each, stored)}
        looking.room -= sum(len(item.content or b"") for item in there.values())
        fresh = [each for each in seen if each.item.path not in there]
        for each, item in zip(fresh, await asyncio.gather(*(self._read(each, looking) for each in fresh)), strict=True):
            if item is not None:
                there[item.path] = item
                if each.stamp is not None and each.changed_ns + SETTLED_NS < now_ns:
                    self._known[item.path] = (item.digest, each.stamp)
        return Look(
            changed=tuple(there[path] for path in sorted(there) if there[path] != stored.get(path)),
            # What cannot be read now, or lies in what cannot be entered, stays as it was stored.
            gone=tuple(path for path in stored if path not in there and not _lies_in(path, looking.refused)),
            refused=looking.refused,
        )

    def _is_known(self, seen: _Seen, stored: dict[str, Item]) -> bool:
        """Whether it is as it was stored, which of a file is only known if it has been read."""
        before = stored.get(seen.item.path)
        if before is None or before.mode != seen.item.mode or bool(before.digest) != (seen.stamp is not None):
            return False
        if seen.stamp is None:
            return before.target == seen.item.target
        return self._known.get(before.path) == (before.digest, seen.stamp)

    async def _read(self, seen: _Seen, looking: _Looking) -> Item | None:
        """The item with its content, durable if it is not in the item; None if there is none to be had."""
        item, path = seen.item, self._root / seen.item.path
        if seen.stamp is None:
            return item
        async with self._places:
            try:
                small = await asyncio.to_thread(_small, path) if item.size <= INLINE_BYTES else None
                if small is not None and len(small) <= looking.room:
                    looking.room -= len(small)
                    digest = hashlib.sha256(small).hexdigest()
                    return msgspec.structs.replace(item, size=len(small), digest=digest, content=small)
                content = await self._attach(lambda: _pieces(path))
                return msgspec.structs.replace(item, size=content.size, digest=content.digest)
            except FileNotFoundError:
                looking.vanished = True
            except OSError as error:
                looking.refused[item.path] = f"cannot be read: {error.strerror}"
        return None


async def put_back(items: Iterable[Item], *, root: Path, read: Read) -> None:
    """Make the empty folder `root` hold these.

    Raises `FolderUnusable` if the disk does not take them, `ContentCorrupt` with all that is damaged, and store errors.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def write(item: Item) -> None:
        async with places:
            with (root / item.path).open("xb") as file:
                if item.content is not None:
                    file.write(item.content)
                    return
                async with aclosing(read(content_of(item))) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(file.write, piece)

    ordered = sorted(items, key=lambda item: item.path)
    try:
        for item in ordered:
            _refuse_outside(item.path)
            if not item.digest and item.target is None:
                (root / item.path).mkdir(mode=0o700)
        await _all(write(item) for item in ordered if item.digest)
        # Links last, so that nothing is written through one; folders become read-only when all is in them.
        for item in reversed(ordered):
            if item.target is not None:
                (root / item.path).symlink_to(item.target)
            else:
                (root / item.path).chmod(item.mode)
    except OSError as error:
        raise FolderUnusable(f"the program's folder cannot be restored: {error}") from error


async def _all(writes: Iterable[Awaitable[None]]) -> None:
    """Wait for all. What is damaged is raised together, and only if nothing else has gone wrong."""
    raised = [each for each in await asyncio.gather(*writes, return_exceptions=True) if each is not None]
    corrupt = [each for each in raised if isinstance(each, ContentCorrupt)]
    for error in raised:
        if not isinstance(error, ContentCorrupt):
            raise error
    if corrupt:
        raise ContentCorrupt("; ".join(map(str, corrupt)), keys=[key for each in corrupt for key in each.keys])


def clear(root: Path) -> None:
    """Take away whatever is in a folder, or stands in its place. Raises OSError."""
    if root.is_symlink() or not root.is_dir():
        root.unlink(missing_ok=True)
        return
    root.chmod(0o700)
    for each in root.iterdir():
        clear(each)
    root.rmdir()


def _walk(root: Path, *, refused: dict[str, str], below: str = "") -> Iterator[_Seen]:
    """All that lies in a folder, a folder before what is in it; what cannot be kept goes into `refused`."""
    try:
        with os.scandir(root / below) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        refused[below or "."] = f"cannot be entered: {error.strerror}"
        return
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if not _is_text(path):
            refused[ascii(path)] = "has a name that is not UTF-8"
            continue
        with suppress(FileNotFoundError):
            facts = entry.stat(follow_symlinks=False)
            mode = facts.st_mode & _KEPT_BITS
            if stat.S_ISREG(facts.st_mode):
                stamp = (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
                item = Item(path=path, mode=mode, size=facts.st_size)
                yield _Seen(item=item, stamp=stamp, changed_ns=max(facts.st_mtime_ns, facts.st_ctime_ns))
            elif stat.S_ISLNK(facts.st_mode):
                target = str((root / path).readlink())
                if _is_text(target):
                    yield _Seen(item=Item(path=path, target=target))
                else:
                    refused[path] = "leads to a name that is not UTF-8"
            elif stat.S_ISDIR(facts.st_mode):
                yield _Seen(item=Item(path=path, mode=mode))
                yield from _walk(root, refused=refused, below=path)
            else:
                refused[path] = f"is {_KINDS.get(stat.S_IFMT(facts.st_mode), 'no file')}"


_KINDS: Final = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lies_in(path: str, refused: dict[str, str]) -> bool:
    return "." in refused or path in refused or any(str(parent) in refused for parent in PurePosixPath(path).parents)


def _refuse_outside(path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise FolderUnusable(f"the program's folder cannot be restored: {path!r} does not lie in it")


def _open(path: Path) -> int:
    # A file that something else has taken the place of since it was seen is not waited for, and not followed.
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _small(path: Path) -> bytes | None:
    """The content, unless it has grown."""
    with os.fdopen(_open(path), "rb") as file:
        content = file.read(INLINE_BYTES + 1)
    return content if len(content) <= INLINE_BYTES else None


def _pieces(path: Path) -> Iterator[bytes]:
    """The content as long as it is now: who only ever appends has a whole beginning stored."""
    with os.fdopen(_open(path), "rb") as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (piece := file.read(min(PIECE, left))):
            left -= len(piece)
            yield piece
