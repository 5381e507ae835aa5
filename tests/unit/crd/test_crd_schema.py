"""runner/agenttask/spec.schema.json is what the CRD says today."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).parents[3]


def test_the_schema_of_manifests_is_current() -> None:
    script = runpy.run_path(str(ROOT / "crds/schema.py"))
    made = script["schema"](yaml.safe_load((ROOT / "crds/agenttask.yaml").read_text()))
    assert script["TARGET"].read_text() == made, "run `uv run python crds/schema.py`"
