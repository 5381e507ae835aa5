"""Pure: which blobs a log has, and since when nothing refers to each of them any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from agenttask.log.record import BlobRef, Content


class Kept(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A blob, and the record at which it was found to have lost its last reference."""

    blob: BlobRef
    lost_at: int | None = None


class Table:
    """The blobs named by the chain of a log. A value is used again only through a live reference."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._live: dict[Content, BlobRef] = {}
        self._pinned: set[str] = set()

    def load(self, kept: Iterable[Kept]) -> None:
        """What a snapshot knew."""
        for each in kept:
            if each.lost_at is None:
                self.add(each.blob)
            else:
                self._kept[each.blob.name] = each

    def find(self, content: Content) -> BlobRef | None:
        """A live blob with this content."""
        return self._live.get(content)

    def add(self, blob: BlobRef) -> None:
        """Something refers to this blob now; of several with the same content the newest is the one to use."""
        self._kept[blob.name] = Kept(blob=blob)
        self._live[blob.content] = blob

    def pin(self, blob: BlobRef) -> None:
        """A record will refer to this blob: until then it is live, whatever the state says."""
        self._pinned.add(blob.name)

    def unpin(self, blobs: Iterable[BlobRef]) -> None:
        """A record refers to these now."""
        self._pinned.difference_update(blob.name for blob in blobs)

    @property
    def live(self) -> dict[Content, BlobRef]:
        """What can be found, as it is now."""
        return dict(self._live)

    def retire(self, *, live: Collection[str], at: int) -> None:
        """Record `at` has come, and the state after it refers to the blobs named `live` alone."""
        for name, each in self._kept.items():
            if name not in live and name not in self._pinned and each.lost_at is None:
                self._kept[name] = Kept(blob=each.blob, lost_at=at)
                if self._live.get(each.blob.content) == each.blob:
                    del self._live[each.blob.content]

    def give_up(self, blob: BlobRef) -> None:
        """This blob is not used again: what it should hold is to be written anew."""
        if self._live.get(blob.content) == blob:
            del self._live[blob.content]

    def disown(self) -> None:
        """From here on no blob is used again: each value is to be written anew."""
        self._live.clear()

    def doomed(self, *, oldest: int) -> tuple[str, ...]:
        """Blobs that nobody needs who restores from record `oldest` or later."""
        return tuple(name for name, each in self._kept.items() if each.lost_at is not None and each.lost_at <= oldest)

    def drop(self, names: Iterable[str]) -> None:
        """These blobs are gone."""
        for name in names:
            self._kept.pop(name, None)

    @property
    def kept(self) -> tuple[Kept, ...]:
        """All of it."""
        return tuple(self._kept.values())

    def __contains__(self, name: str) -> bool:
        return name in self._kept
