"""What `agenttask validate` refuses is what the API server refuses: the CRD's own examples, without a server."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from agenttask.rules import with_defaults
from agenttask.validate import validate_file

from tests.api.crd.test_crd_creation import BOUNDS, RULES, named

EXAMPLES = {**RULES, **BOUNDS}


def problems(folder: Path, *, name: str, spec: Any) -> list[str]:
    """What is wrong with a task, none of whose checks beyond the API server's would be met."""
    file = folder / "task.yaml"
    task = {"apiVersion": "agenttask.dev/v1alpha1", "kind": "AgentTask", "metadata": {"name": name}, "spec": spec}
    file.write_text(json.dumps(task))
    out = io.StringIO()
    code = validate_file(path=file, connect=False, output="json", environment={}, out=out)
    found: list[str] = json.loads(out.getvalue())["problems"]
    assert (code == 1) == bool(found)
    return found


@pytest.mark.parametrize("sentence", EXAMPLES)
def test_an_example_is_refused_as_the_api_server_refuses_it(tmp_path: Path, sentence: str) -> None:
    case = EXAMPLES[sentence]
    refused = problems(tmp_path, name=case.refused_name, spec=named(case.refused, "agenttask.dev"))
    assert refused
    if sentence in RULES and case.refused_name == "task":
        assert named(case.says, "agenttask.dev") in "; ".join(refused).replace("spec.", "")


@pytest.mark.parametrize("sentence", EXAMPLES)
def test_an_example_is_taken_as_the_api_server_takes_it(tmp_path: Path, sentence: str) -> None:
    case = EXAMPLES[sentence]
    found = problems(tmp_path, name=case.accepted_name, spec=named(case.accepted, "agenttask.dev"))
    beyond = ("cannot be had", "none of the tool's parameters")  # what no server could know
    assert [each for each in found if not any(words in each for words in beyond)] == []


def test_defaults_are_filled_in_as_deep_as_they_go() -> None:
    inner = {"properties": {"a": {"default": 1}, "b": {}}}
    schema = {"properties": {"x": {"default": {}, **inner}, "list": {"items": inner}, "none": {"properties": {}}}}
    assert with_defaults({"list": [{"b": 2}]}, schema) == {"x": {"a": 1}, "list": [{"b": 2, "a": 1}]}
