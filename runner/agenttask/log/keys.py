"""Pure: the names of a log's objects.

<prefix>/log/<seq, 12 digits>                        one record
<prefix>/snapshot/<seq, 12 digits>                   the state after that record
<prefix>/blob/<attempt>-<process>-<number>           a large value, or a sealed part of a state
<prefix>/late/<name>                                 what a writer that has lost the log still had to say
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_NUMBER: Final = re.compile(r"[0-9]{12}")
_BLOB: Final = re.compile(r"([0-9]{1,18})-[^/-]+-[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Where one log lies: below `prefix`, which has no final slash."""

    prefix: str

    @property
    def records(self) -> str:
        """The folder of the records, with its final slash."""
        return f"{self.prefix}/log/"

    @property
    def snapshots(self) -> str:
        """The folder of the snapshots."""
        return f"{self.prefix}/snapshot/"

    @property
    def blobs(self) -> str:
        """The folder of the blobs."""
        return f"{self.prefix}/blob/"

    @property
    def lates(self) -> str:
        """The folder of what was said too late."""
        return f"{self.prefix}/late/"

    def record(self, seq: int) -> str:
        """Key of record `seq`."""
        return f"{self.records}{seq:012d}"

    def snapshot(self, seq: int) -> str:
        """Key of the snapshot taken after record `seq`."""
        return f"{self.snapshots}{seq:012d}"

    def named(self, name: str) -> str:
        """Key of what is named relative to the log, as in `blob/1-a-1`."""
        return f"{self.prefix}/{name}"

    def late(self, name: str) -> str:
        """Key of what somebody said too late, under a name of the holders' own."""
        return f"{self.lates}{name}"

    def seq(self, key: str) -> int | None:
        """The number of a record or snapshot, or None if this is the key of neither."""
        folder, _, name = key.rpartition("/")
        if f"{folder}/" not in (self.records, self.snapshots):
            return None
        return int(name) if _NUMBER.fullmatch(name) else None

    def name(self, key: str) -> str:
        """A key as it is named relative to the log."""
        return key.removeprefix(f"{self.prefix}/")


def blob_name(*, attempt: int, process: str, number: int) -> str:
    """Name of one blob, relative to the log. Never used twice."""
    return f"blob/{attempt}-{process}-{number}"


def attempt_of(name: str) -> int | None:
    """The attempt that wrote a blob, by its name relative to the log; None for a name that is no blob's."""
    folder, _, rest = name.rpartition("/")
    found = _BLOB.fullmatch(rest) if folder == "blob" else None
    return int(found[1]) if found else None
