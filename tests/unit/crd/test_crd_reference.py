"""docs/api.md is what the CRD says today."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).parents[3]


def test_the_reference_is_current() -> None:
    script = runpy.run_path(str(ROOT / "crds/reference.py"))
    made = script["reference"](yaml.safe_load((ROOT / "crds/agenttask.yaml").read_text()))
    assert (ROOT / "docs/api.md").read_text() == made, "run `uv run python crds/reference.py`"
