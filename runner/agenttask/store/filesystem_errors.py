"""Pure: what the operating system says of a file → what it means to us, and what to do about it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from agenttask.errors import Denied, Full, Misconfigured, NotFound, StoreError, Unavailable

_RIGHTS: Final = "give this user the right to read and write there (for a pod: fsGroup or the volume's mode)"
_MEANINGS: Final[dict[int, tuple[type[StoreError], str]]] = {
    errno.EACCES: (Denied, _RIGHTS),
    errno.EPERM: (Denied, _RIGHTS),
    errno.EROFS: (Denied, "the volume is mounted read-only; mount it writable"),
    errno.ENOSPC: (Full, "the volume is full; enlarge it or remove what is not needed"),
    errno.EDQUOT: (Full, "the quota is used up; raise it or remove what is not needed"),
    errno.ENOENT: (NotFound, "the folder is gone; mount the volume it was on"),
    errno.EEXIST: (Misconfigured, "a file stands where a folder has to be"),
    errno.ENOTDIR: (Misconfigured, "a file stands where a folder has to be"),
    errno.EISDIR: (Misconfigured, "a folder stands where a file has to be"),
    errno.ENAMETOOLONG: (Misconfigured, "choose a shorter path"),
}
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What file systems without hard links answer to one; FAT says EPERM."""


def translated(error: OSError, *, path: Path) -> StoreError:
    """The store error this one stands for. What is not known may pass: an I/O error, a stale handle."""
    meaning, advice = _MEANINGS.get(error.errno or 0, (Unavailable, ""))
    said = f"{path}: {error.strerror or error}"
    return meaning(f"{said}: {advice}" if advice else said)


def without_links(error: OSError) -> bool:
    """Whether a failed link says that the file system has none."""
    return error.errno in _NO_LINKS
