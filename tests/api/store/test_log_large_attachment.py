"""A file of 300 MB that a record has attached costs little memory, neither when it is written nor when it is read."""

from __future__ import annotations

import hashlib

from tests.api.store.conftest import Server
from tests.api.store.large_attachment import pieces
from tests.api.store.test_log_large_value import forget, run

MEGABYTES = 300
BOUND_MEGABYTES = 100
"""Beside what the process takes before it begins."""


async def test_a_file_of_300_mb_goes_to_s3_and_back_and_is_never_in_memory(versitygw: Server) -> None:
    where = versitygw.location(prefix="large-attachment")
    try:
        written, read = (run(what, where, module="large_attachment", megabytes=MEGABYTES) for what in ("write", "read"))
    finally:
        await forget(where)
    given = hashlib.sha256()
    for piece in pieces(MEGABYTES):
        given.update(piece)
    assert {written.digest, read.digest} == {given.hexdigest()}
    for seen in (written, read):
        assert seen.peak - seen.before < BOUND_MEGABYTES, f"{seen}"
