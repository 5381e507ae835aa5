"""Pure: what goes wrong with a call of the API server, by what it answered.

ClusterError
├── NotFoundError       the object (or its namespace) does not exist
├── ExistsError         an object of that name exists
├── ConflictError       the object changed meanwhile, or is another one of that name: read again
├── RefusedError        the server says no, and why; the same request will be refused again
│   └── NamespaceEndsError  since nothing is made any more in a namespace that is being deleted
└── UnreachableError    no answer, or one that says to come back later
"""

from __future__ import annotations

import msgspec


class ClusterError(Exception):
    """Root of all that can go wrong; the message is the server's where there is one."""


class NotFoundError(ClusterError):
    """The object does not exist."""


class ExistsError(ClusterError):
    """An object of that name exists."""


class ConflictError(ClusterError):
    """The object changed meanwhile, or another one has its name."""


class RefusedError(ClusterError):
    """The server says no."""


class NamespaceEndsError(RefusedError):
    """Nothing is made there any more."""


class UnreachableError(ClusterError):
    """No answer, or none yet."""


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""


class _Details(msgspec.Struct, frozen=True):
    causes: tuple[_Cause, ...] = ()


class _Refusal(msgspec.Struct, frozen=True):
    """A Status object, as the server answers when it says no."""

    message: str = ""
    reason: str = ""
    details: _Details | None = None


def error_of(code: int, content: bytes) -> ClusterError:
    """The error that an answer with this code and body is."""
    try:
        said = msgspec.json.decode(content, type=_Refusal)
    except msgspec.MsgspecError:
        # Not an API server's answer: a proxy or load balancer in between.
        said = _Refusal(message=content[:200].decode(errors="replace"))
    message = said.message or f"HTTP {code}"
    if code == 404:
        return NotFoundError(message)
    if code == 409:
        return ExistsError(message) if said.reason == "AlreadyExists" else ConflictError(message)
    if code in {401, 429, 502, 503, 504} or (code == 500 and said.reason != "InternalError"):
        return UnreachableError(message)
    if said.details is not None and any(cause.reason == "NamespaceTerminating" for cause in said.details.causes):
        return NamespaceEndsError(message)
    return RefusedError(message)
