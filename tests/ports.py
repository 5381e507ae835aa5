"""Ports for servers that do not find one by themselves, and tell which."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved() -> Iterator[int]:
    """A port of this machine that nobody else is given until the block ends, also while the server is away.

    What holds it does not listen, and says SO_REUSEADDR as servers do: so one of them may have the port as well.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("", 0))
        port: int = holder.getsockname()[1]
        yield port
