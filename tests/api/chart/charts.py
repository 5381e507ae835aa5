"""The chart as this tree has it: packaged, rendered, and installed beside any other release.

What is cluster-scoped has fixed names (the CRD, the policy), so a release for tests is packaged from a copy in which
our API group and the policy have names of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[3]
CHART: Final = ROOT / "charts/agenttask"
IMAGES: Final = {
    "image.operator.repository": "registry.example.com/agenttask-operator",
    "image.runner.repository": "registry.example.com/agenttask-runner",
    "image.devStore.repository": "registry.example.com/agenttask-devstore",
}

Object = dict[str, Any]


class HelmError(Exception):
    """Helm said no; the text is what it wrote."""


@dataclass(frozen=True, kw_only=True)
class Helm:
    """Runs helm from a PATH, against one cluster where that is needed."""

    path: str
    kubeconfig: Path | None = None

    def run(self, *words: str | Path) -> str:
        """Run helm and return what it printed.

        Raises:
            HelmError: it failed.
        """
        environment = {**os.environ, "PATH": f"{self.path}:{os.environ['PATH']}"}
        if self.kubeconfig is not None:
            environment["KUBECONFIG"] = str(self.kubeconfig)
        done = subprocess.run(
            ["helm", *words], check=False, capture_output=True, text=True, timeout=120, env=environment
        )
        if done.returncode:
            raise HelmError(done.stderr)
        return done.stdout

    def render(self, chart: Path, **values: Any) -> list[Object]:
        """The chart's objects. Values are named by their dotted paths; images are given unless overridden."""
        words = settings({**IMAGES, **values})
        text = self.run("template", "agenttask", chart, "--namespace", "agenttask-system", *words)
        return [one for one in yaml.safe_load_all(text) if one]


def settings(values: dict[str, Any]) -> list[str]:
    """Helm's words for values named by their dotted paths."""
    return [word for key, value in values.items() for word in ("--set-json", f"{key}={json.dumps(value)}")]


def package(*, helm: Helm, into: Path, group: str | None = None) -> Path:
    """Package the chart; with a group, a copy that has it in place of agenttask.dev and a policy of its own."""
    source = CHART
    if group is not None:
        source = into / "source" / "agenttask"
        shutil.copytree(CHART, source)
        for file in (one for one in source.rglob("*") if one.is_file()):
            file.write_text(
                file.read_text().replace("agenttask.dev", group).replace("agenttask-status", f"{group}-status")
            )
    helm.run("package", source, "--destination", into)
    (made,) = into.glob("agenttask-*.tgz")
    return made


def only(objects: list[Object], kind: str, *, name: str | None = None) -> Object:
    """The object of this kind, and name where there are several."""
    (found,) = (one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"]))
    return found
