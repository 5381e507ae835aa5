"""Every reason is explained, once, and the document says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from agenttask.contract import RunnerReason
from agenttask_operator import reasons
from agenttask_operator.observed import Phase
from agenttask_operator.reasons import Kind, Reason

DOCUMENT = Path(__file__).parents[3] / "docs" / "states.md"


def test_every_reason_condition_and_phase_is_explained() -> None:
    assert set(reasons.REASONS) == {*Reason, *RunnerReason}
    assert set(reasons.CONDITIONS) == set(Kind)
    assert set(reasons.PHASES) == set(Phase)


@pytest.mark.parametrize("reason", reasons.REASONS)
def test_a_reason_is_one_word_that_fits_a_column(reason: str) -> None:
    assert reason.isalnum()
    assert reason[0].isupper()
    assert len(reason) <= 20


def test_the_document_is_rendered_from_the_code() -> None:
    assert DOCUMENT.read_text() == reasons.as_markdown()
