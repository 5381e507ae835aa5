"""A body to put is the one that was announced, or it is refused; and a large one waits on disk."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from agenttask.errors import Full
from agenttask.store import Source, source
from agenttask.store.source import of_bytes, pieces, spooled

BODY = b"0123456789" * 1000


def in_pieces(*body: bytes) -> Source:
    async def once() -> AsyncIterator[bytes]:
        for piece in body:
            yield piece

    return replace(of_bytes(b"".join(body)), open=once)


async def test_the_pieces_of_a_source_are_its_body_and_it_can_be_read_again() -> None:
    whole = in_pieces(BODY[:1], b"", BODY[1:4096], BODY[4096:])
    for _ in range(2):
        assert b"".join([piece async for piece in pieces(whole)]) == BODY


LIES = {
    "shorter than it said": replace(of_bytes(BODY), size=len(BODY) + 1),
    "longer than it said": replace(of_bytes(BODY), size=len(BODY) - 1),
    "another body": replace(of_bytes(BODY), sha256="0" * 64),
    "empty": replace(of_bytes(BODY), open=in_pieces().open),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_source_is_refused_that_is(lie: Source) -> None:
    with pytest.raises(ValueError, match=f"is not the {lie.size} bytes"):
        [piece async for piece in pieces(lie)]
    with pytest.raises(ValueError, match="it said it was"):
        async with spooled(lie):
            raise AssertionError("nothing of it may be sent")


async def test_nothing_beyond_the_announced_size_is_given_out() -> None:
    longer = replace(in_pieces(BODY, b"more", b"and more"), size=len(BODY))
    given = b""
    with pytest.raises(ValueError, match="it said it was"):
        async for piece in pieces(longer):
            given += piece
    assert given == BODY


async def test_a_spooled_source_is_a_file_at_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for in_memory in (len(BODY) + 1, 10):
        monkeypatch.setattr(source, "IN_MEMORY_BYTES", in_memory)
        async with spooled(in_pieces(BODY[:5], BODY[5:])) as file:
            assert file.read() == BODY


async def test_no_room_for_a_large_body_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
    with pytest.raises(Full, match=f"no room in {tempfile.gettempdir()} for a body of {len(BODY)} bytes"):
        async with spooled(of_bytes(BODY)):
            raise AssertionError("nothing of it may be sent")
