"""Kueue itself: its manager as a process of this machine, and all the rest as its own chart installs it.

What differs from `helm install` is where the manager runs: the API server finds the webhooks at an address of this
machine, and this harness, in place of a kubelet, hands the manager its certificates and its service account's token.
Only namespaces with the label `QUEUED` are Kueue's business, since other tests share the cluster.
"""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.api.charts import Helm
from tests.cluster import binaries, pki
from tests.cluster.environment import Environment
from tests.cluster.provider import kubectl
from tests.cluster.shell import tail
from tests.e2e.harness.kube import Object
from tests.e2e.harness.wait import until
from tests.ports import reserved

QUEUED: Final = {"agenttask.test/queued": "true"}
"""Label of the namespaces whose pods Kueue looks at."""
_NAMESPACE: Final = "kueue-system"
_SECRET: Final = "kueue-webhook-server-cert"
_SERVICE: Final = f"kueue-webhook-service.{_NAMESPACE}.svc"
_ELSEWHERE: Final = {"Deployment", "Service", "APIService", "ConfigMap"}
"""Kinds of the chart that are about a manager in a pod."""


@dataclass(kw_only=True)
class Kueue:
    """One installation; all its files lie in `folder`."""

    environment: Environment
    folder: Path
    _process: subprocess.Popen[bytes] | None = None
    _held: ExitStack = field(default_factory=ExitStack)
    _webhooks: int = field(init=False)
    _health: int = field(init=False)
    """Its ports."""

    def __post_init__(self) -> None:
        self._webhooks, self._health = (self._held.enter_context(reserved()) for _ in range(2))

    def install(self) -> None:
        """Build the manager if need be, and apply what the chart renders but the manager's own Deployment."""
        binaries.provide(binaries.QUEUES)
        objects = self._rendered()
        self._apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}}])
        self._certify()
        self._apply([self._moved(one) for one in objects if one["kind"] not in _ELSEWHERE])
        self._configure(objects)

    def start(self) -> None:
        """Start the manager and wait until it is ready."""
        environment = {"KUBECONFIG": str(self.folder / "kubeconfig"), "HOME": str(self.folder)}
        command = [str(binaries.program("kueue")), f"--config={self.folder / 'config.yaml'}", "--zap-log-level=2"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        until(self._ready, what="Kueue is ready", seen=lambda: tail(self._log, lines=5))

    def stop(self) -> None:
        """Kill the manager, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=60)
            self._process = None

    def uninstall(self) -> None:
        """Remove all that `install` has applied, while the manager lets go of what it holds; then end it."""
        for kinds in ("localqueues,workloads", "clusterqueues", "resourceflavors"):
            self._kubectl("delete", kinds, "--all", "--all-namespaces", "--timeout=60s")
        self._kubectl("delete", "-f", str(self.folder / "applied.yaml"), "--ignore-not-found", "--timeout=60s")
        self.stop()
        self._kubectl("delete", "namespace", _NAMESPACE, "--wait=false")
        self._held.close()

    @property
    def _log(self) -> Path:
        return self.folder / "kueue.log"

    def _ready(self) -> bool:
        assert self._process is not None and self._process.poll() is None, tail(self._log)
        try:
            return httpx.get(f"http://127.0.0.1:{self._health}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _rendered(self) -> list[Object]:
        chart = binaries.files(module="go/kueue", of="sigs.k8s.io/kueue") / "charts" / "kueue"
        helm = Helm(path=self.environment.path, kubeconfig=self.environment.kubeconfig)
        text = helm.run("template", "kueue", chart, "--namespace", _NAMESPACE)
        return [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one]

    def _moved(self, one: Object) -> Object:
        """The object for a manager that runs here: webhooks at its address, for the tests' own namespaces."""
        if one["kind"] == "Secret":
            files = {name: (self.folder / name).read_bytes() for name in ("ca.crt", "ca.key", "tls.crt", "tls.key")}
            one["data"] = {name: b64encode(content).decode() for name, content in files.items()}
        if one["kind"] == "CustomResourceDefinition" and "conversion" in one["spec"]:
            self._readdress(one["spec"]["conversion"]["webhook"]["clientConfig"])
        if one["kind"].endswith("WebhookConfiguration"):
            one["webhooks"] = [hook for hook in one["webhooks"] if _concerns_us(hook)]
            for hook in one["webhooks"]:
                self._readdress(hook["clientConfig"])
                if hook["rules"][0]["resources"] == ["pods"]:
                    hook["namespaceSelector"] = {"matchLabels": QUEUED}
        return one

    def _readdress(self, client: Object) -> None:
        path = client.pop("service")["path"]
        client["url"] = f"https://{self.environment.host_address}:{self._webhooks}{path}"

    def _certify(self) -> None:
        """The files that a kubelet would mount from the Secret; Kueue keeps those it takes for its own."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        authority = pki.Authority.create(folder=self.folder, name="ca", hosts=("kueue-ca",), key=key)
        authority.issue(name="tls", common_name=_SERVICE, hosts=(_SERVICE, self.environment.host_address))

    def _configure(self, objects: list[Object]) -> None:
        """The chart's own configuration, but for addresses and namespaces; and who the manager is."""
        (map_,) = (one for one in objects if one["kind"] == "ConfigMap")
        config: dict[str, Any] = yaml.safe_load(map_["data"]["controller_manager_config.yaml"])
        config["webhook"] = {"port": self._webhooks, "certDir": str(self.folder)}
        config["health"] = {"healthProbeBindAddress": f"127.0.0.1:{self._health}"}
        config["metrics"] = {"bindAddress": "0"}
        config["leaderElection"] = {"leaderElect": False}
        config["managedJobsNamespaceSelector"] = {"matchLabels": QUEUED}
        # Its server for kubectl wants the place of a pod. Pods on lost nodes are deleted if their annotation says so.
        config["featureGates"] = {"VisibilityOnDemand": False, "FailureRecoveryPolicy": True}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        shown = json.loads(self._kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        token = self._kubectl("-n", _NAMESPACE, "create", "token", "kueue-controller-manager", "--duration=12h")
        shown["users"][0]["user"] = {"token": token.strip()}
        file = self.folder / "kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps(shown))

    def _apply(self, objects: list[Object]) -> None:
        file = self.folder / "applied.yaml"
        file.touch(mode=0o600)
        file.write_text(yaml.dump_all(objects, Dumper=yaml.CSafeDumper))
        self._kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file))

    def _kubectl(self, *words: str) -> str:
        return kubectl(self.environment, *words, seconds=120)


def _concerns_us(hook: Mapping[str, Any]) -> bool:
    """Whether it is about Kueue's own objects or about pods."""
    return all(rule["apiGroups"] == ["kueue.x-k8s.io"] or rule["resources"] == ["pods"] for rule in hook["rules"])
