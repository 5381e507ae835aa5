"""The chart as its users install it: packaged, then `helm install`, `upgrade`, `uninstall` with a values file."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.environment import Environment
from tests.e2e.harness.kube import Object

CHART = Path(__file__).parents[3] / "charts" / "agenttask"
NAME = "agenttask"


@dataclass(frozen=True, kw_only=True)
class Release:
    """The one release on the test cluster, driven from a packaged chart."""

    environment: Environment
    folder: Path
    """Where the archive and the values files go."""

    def package(self) -> Path:
        """Package the chart and return the archive."""
        self._helm("package", str(CHART), "--destination", str(self.folder))
        return next(self.folder.glob(f"{NAME}-*.tgz"))

    def values(self) -> Object:
        """The values that were set on the release."""
        found: Object = json.loads(self._helm("get", "values", NAME, "--output", "json"))
        return found

    def install(self, values: Object) -> None:
        """`helm install`, until the operator is ready."""
        self._helm("install", NAME, str(self.package()), "--values", self._file(values), "--wait", "--timeout=300s")

    def upgrade(self, values: Object) -> None:
        """`helm upgrade` with these values and no others, until the operator is ready."""
        self._helm("upgrade", NAME, str(self.package()), "--values", self._file(values), "--wait", "--timeout=300s")

    def restore(self, values: Object) -> None:
        """Install or upgrade, whichever it takes."""
        archive, file = str(self.package()), self._file(values)
        self._helm("upgrade", "--install", NAME, archive, "--values", file, "--wait", "--timeout=300s")

    def uninstall(self) -> None:
        """`helm uninstall`."""
        self._helm("uninstall", NAME, "--wait", "--timeout=300s")

    def _file(self, values: Object) -> str:
        path = self.folder / "values.json"
        path.write_text(json.dumps(values))
        return str(path)

    def _helm(self, *words: str) -> str:
        variables = {**os.environ, "PATH": f"{self.environment.path}:{os.environ['PATH']}"}
        command = [
            "helm",
            *words,
            f"--kubeconfig={self.environment.kubeconfig}",
            f"--namespace={self.environment.operator_namespace}",
        ]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout
