"""Manifests as people write them: each mistake is named, with its place, and none is a traceback."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from agenttask.cli import main
from agenttask.documents import MOST_BYTES
from agenttask.manifest import load

HEAD = "apiVersion: agenttask.dev/v1alpha1\nkind: AgentTask\nmetadata: {name: x}\n"
MAP = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
BOMB = "a: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n + 1}: &a{n + 1} [{','.join([f'*a{n}'] * 10)}]\n" for n in range(8)
)

MISTAKES: dict[str, tuple[str | bytes, str]] = {
    "a tab": (HEAD + "spec:\n\tprompt: p\n", 'line 5, column 1'),
    "a wrong indentation": (HEAD + "spec:\n  prompt: p\n agent: {}\n", "line 6, column 2"),
    "a colon in a text": (HEAD + "spec:\n  prompt: Note: this\n", "mapping values are not allowed here"),
    "a template": (HEAD + "spec:\n  prompt: {{ .Values.prompt }}\n", "line 5, column 11"),
    "a bracket that is not closed": (HEAD + "spec: {prompt: p\n", "expected ',' or '}'"),
    "a field twice": (HEAD + "spec:\n  prompt: p\n  prompt: q\n", "found prompt twice"),
    "a misspelt field": (HEAD + "spec: {promt: p}\n", "unknown field spec.promt; did you mean prompt?"),
    "a field of the spec outside of it": (HEAD + "prompt: p\n", "spec is needed; unknown field prompt"),
    "a misspelt field of metadata": (
        HEAD.replace("{name: x}", "{name: x, label: {}}") + "spec: {prompt: p}\n",
        "unknown field metadata.label; did you mean labels?",
    ),
    "a label that is a number": (
        HEAD.replace("{name: x}", "{name: x, labels: {a: 1}}") + "spec: {prompt: p}\n",
        "metadata.labels.a: 1 is not of type 'string'; put it in quotes",
    ),
    "a number for a name": (HEAD.replace("x", "42") + "spec: {prompt: p}\n", "metadata.name: 42 is not of type"),
    "a number for a text": (HEAD + "spec: {prompt: 42}\n", "spec.prompt: 42 is not of type 'string'; put it in quotes"),
    "a text for a number": (HEAD + "spec: {budget: {steps: '3'}}\n", "spec.budget.steps: '3' is not of type 'integer'"),
    "a spec that is empty": (HEAD + "spec:\n", "spec: None is not of type 'object'"),
    "a name that a server makes": (
        HEAD.replace("name", "generateName") + "spec: {prompt: p}\n",
        "file.yaml: metadata.name is needed",
    ),
    "a name in capitals": (HEAD.replace("x}", "X}") + "spec: {prompt: p}\n", "A DNS label of at most 52 characters."),
    "no address": (
        HEAD + "spec: {prompt: p, agent: {model: {baseURL: api.example.com, name: m}}}\n",
        "for example https://api.example.com/v1",
    ),
    "no quantity": (
        HEAD + "spec: {prompt: p, pod: {resources: {limits: {memory: 1 GB}}}}\n",
        "A quantity, such as 500m or 1Gi.",
    ),
    "another kind": (HEAD.replace("AgentTask", "Pod"), "exactly one AgentTask is needed, and there is Pod x"),
    "no kind": ("a: 1\n", "and there is an object without kind"),
    "two tasks": (HEAD + "---\n" + HEAD.replace("x", "y"), "and there is AgentTask x, AgentTask y"),
    "a list": ("- a\n- b\n", "and there is a list"),
    "no YAML, but a word": ("hello\n", "and there is a text"),
    "an empty file": ("", "and there is nothing"),
    "nothing but a comment": ("# to be done\n---\n", "and there is nothing"),
    "a ConfigMap with a number": (
        HEAD + "spec: {prompt: p}\n" + MAP + "data: {a: 1}\n",
        "ConfigMap c: data.a: 1 is not of type 'string'; put it in quotes",
    ),
    "Latin-1": ((HEAD + "spec: {prompt: Paran\xe1}\n").encode("latin-1"), "line 4 is not UTF-8"),
    "UTF-16": (HEAD.encode("utf-16"), "line 1 is not UTF-8"),
    "a control character": (HEAD + "spec: {prompt: a\x07}\n", "line 4 has a control character in it"),
    "half a character": (HEAD + 'spec: {prompt: "\\ud800"}\n', "spec.prompt has half of a surrogate pair"),
    "a character that there is not": (HEAD + 'spec: {prompt: "\\Uffffffff"}\n', "out of all bounds"),
    "a number beyond all bounds": (HEAD + f"spec: {{budget: {{steps: {'9' * 5000}}}}}\n", "out of all bounds"),
    "infinity": (HEAD + "spec: {budget: {steps: .inf}}\n", "spec.budget.steps is inf, which JSON does not have"),
    "a Python object": (HEAD + "spec: {prompt: !!python/name:os.system }\n", "could not determine a constructor"),
    "a value that is part of itself": (HEAD + "spec: &a {prompt: p, agent: *a}\n", "is nested too deep"),
    "brackets without end": (HEAD + "spec: " + "[" * 5000, "is nested too deep"),
    "aliases that multiply": (BOMB + HEAD + "spec: {prompt: *a8}\n", "means too much by its aliases"),
    "a huge file": ("a" * (MOST_BYTES + 1), "is larger than 3 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_mistake_is_named(sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, says = MISTAKES[sentence]
    file = tmp_path / "file.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["run", str(file), "--store", str(tmp_path / "store")]) == 78
    said = capsys.readouterr().err
    assert said.startswith(f"{file}: ")
    assert says in said
    assert main(["validate", str(file)]) == 1
    assert capsys.readouterr().out.startswith(f"{file}: ")


def test_a_folder_and_a_file_that_is_not_there_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, says in ((tmp_path, "Is a directory"), (tmp_path / "none.yaml", "No such file or directory")):
        assert main(["validate", str(path)]) == 1
        assert capsys.readouterr().out == f"{path}: {says}\n"


def test_what_kubectl_takes_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    shown = HEAD.replace("{name: x}", "{name: x, uid: u, generation: 1, annotations: {a: b}, finalizers: [f]}")
    file.write_text(
        "\ufeff# comment\n---\n" + shown + "spec: {<<: {prompt: q}, prompt: 2026-01-01}\nstatus: {phase: Pending}\n"
    )
    assert load(file).spec.prompt == "2026-01-01", "a date is text, and a merged field is not there twice"
    file.write_text(HEAD + "spec: {prompt: p, agent: {model: {baseURL: http://h, name: m, options: {1: {on: yes}}}}}")
    model = load(file).spec.agent.model
    assert model is not None
    assert model.options == {"1": {"on": True}}, "keys are text"


def test_a_manifest_may_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((HEAD + "spec: {promt: p}\n").encode())))
    assert main(["validate", "-o", "json", "-"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "file": "-", "problems": ["unknown field spec.promt; did you mean prompt?"],
    }  # fmt: skip
