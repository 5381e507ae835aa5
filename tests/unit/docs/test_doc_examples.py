"""Every task in the documentation is one: its fields exist and have values of their kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from agenttask.contract import GROUP, KIND, VERSION
from agenttask.manifest import parse

API_VERSION = f"{GROUP}/{VERSION}"
DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def specs() -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the spec of each."""
    for page in sorted(DOCS.glob("*.md")):
        for number, block in enumerate(BLOCK.findall(page.read_text()), 1):
            for document in yaml.safe_load_all(block):
                if not isinstance(document, dict) or document.get("kind", KIND) != KIND:
                    continue
                if isinstance(document.get("spec"), dict):
                    yield f"{page.name}, {number}", filled(document["spec"])


def filled(value: Any) -> Any:
    """The value without what the page leaves open with an ellipsis."""
    if isinstance(value, dict):
        return {key: filled(inner) for key, inner in value.items() if inner != "…"}
    return value.replace("…", "x") if isinstance(value, str) else value


FOUND = dict(specs())


@pytest.mark.parametrize("spec", FOUND.values(), ids=FOUND.keys())
def test_every_task_in_the_documentation_is_one(spec: dict[str, Any]) -> None:
    task = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "t"}, "spec": {"prompt": "p", **spec}}
    parse(task, source="the documentation")


def test_the_stores_are_among_them() -> None:
    kinds = [kind for spec in FOUND.values() for kind in spec.get("checkpoint", {})]
    assert {"s3", "redis", "filesystem"} <= set(kinds)
