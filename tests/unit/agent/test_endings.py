"""What ended an attempt → exit code and termination message."""

from __future__ import annotations

import msgspec
import pytest
from agenttask.agent.stop import StopRequested
from agenttask.contract import MAX_TERMINATION_BYTES, Exit, Outcome, RunnerReason, Termination
from agenttask.endings import Ending, encode_termination, of_error
from agenttask.errors import (
    CheckpointCorrupt,
    CheckpointLost,
    Denied,
    Fenced,
    FormatTooNew,
    Misconfigured,
    NotFound,
    SpecInvalid,
    Unavailable,
)
from agenttask.model.failures import ModelError

ERRORS: dict[str, tuple[Exception, Exit, Outcome, str]] = {
    "stopped": (StopRequested(), Exit.STOPPED, Outcome.STOPPED, "Stopped"),
    "fenced": (Fenced("x", newest_attempt=7), Exit.FENCED, Outcome.FENCED, "Fenced"),
    "store away": (Unavailable("x"), Exit.UNAVAILABLE, Outcome.UNAVAILABLE, "StoreUnavailable"),
    "store denies": (Denied("x"), Exit.STALLED, Outcome.STALLED, "StoreDenied"),
    "no bucket": (NotFound("x"), Exit.STALLED, Outcome.STALLED, "StoreNotFound"),
    "no put-if-absent": (Misconfigured("x"), Exit.STALLED, Outcome.STALLED, "StoreMisconfigured"),
    "lost": (CheckpointLost("x"), Exit.STALLED, Outcome.STALLED, "CheckpointLost"),
    "corrupt": (CheckpointCorrupt("x", key="k"), Exit.STALLED, Outcome.STALLED, "CheckpointCorrupt"),
    "too new": (FormatTooNew("x", key="k"), Exit.STALLED, Outcome.STALLED, "FormatTooNew"),
    "spec": (SpecInvalid("x"), Exit.STALLED, Outcome.STALLED, "SpecInvalid"),
    "model": (
        ModelError(reason=RunnerReason.MODEL_DENIED, message="x"),
        Exit.STALLED,
        Outcome.STALLED,
        "ModelDenied",
    ),
    "a defect": (KeyError("x"), Exit.INTERNAL, Outcome.INTERNAL, "InternalError"),
}


@pytest.mark.parametrize(("error", "code", "outcome", "reason"), ERRORS.values(), ids=ERRORS.keys())
def test_ending(error: Exception, code: Exit, outcome: Outcome, reason: str) -> None:
    ending = of_error(error)
    assert (ending.exit, ending.outcome, ending.reason) == (code, outcome, reason)
    assert ending.newest_attempt == (7 if isinstance(error, Fenced) else None)


@pytest.mark.parametrize("letter", ["x", "ü", '"', "\x01"])
def test_a_termination_message_always_fits(letter: str) -> None:
    ending = Ending(exit=Exit.INTERNAL, outcome=Outcome.INTERNAL, reason="InternalError", message=letter * 10_000)
    encoded = encode_termination(ending=ending, attempt=3)
    assert len(encoded) <= MAX_TERMINATION_BYTES
    decoded = msgspec.json.decode(encoded, type=Termination)
    assert (decoded.attempt, decoded.outcome) == (3, Outcome.INTERNAL)
    assert decoded.message.startswith(letter * 300)
    assert decoded.message.endswith("…")
