"""The native provider: a real two-node cluster on a Debian machine, without a container engine or image pulls."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import binaries, chart, debian, network, oci, processes
from tests.cluster.control_plane import ControlPlane
from tests.cluster.environment import Environment
from tests.cluster.images import Buildah
from tests.cluster.node import PAUSE_IMAGE, Node, remove_cgroups
from tests.cluster.paths import BIN, CACHE, ENVIRONMENT, STATE
from tests.cluster.s3 import BUCKET, REGION, Credentials, S3Server
from tests.cluster.shell import ClusterError, run, say, wait_until

_PLACES: Final = (network.NodePlace(number=1), network.NodePlace(number=2))
_FOLDER: Final = STATE / "native"
_OWNER_NOTE: Final = Path("/run/agenttask-test-cluster")
"""Names the work tree whose cluster this machine carries: addresses are fixed, so there is room for one."""
OPERATOR_NAMESPACE: Final = "agenttask-system"


@dataclass(frozen=True, kw_only=True)
class Native:
    """See `provider.Provider` for what the methods promise."""

    name: str = "native"
    controls_nodes: bool = True
    shared_namespace: str | None = None
    folder: Path = _FOLDER

    def unavailable(self) -> str | None:
        """Why this machine cannot carry a native cluster, or None."""
        return None if debian.is_debian_root() else "needs root on Debian"

    @property
    def builder(self) -> Buildah:
        return Buildah()

    def prepare(self) -> None:
        """Install Debian packages and build the control plane, as far as they are not there."""
        self._refuse_foreign()
        debian.require(debian.NATIVE)
        binaries.provide(binaries.NATIVE)

    def up(self) -> Environment:
        """Boot the cluster and the S3 server."""
        say("starting the control plane")
        _OWNER_NOTE.write_text(str(self.folder))
        self.folder.mkdir(parents=True)
        network.connect()
        for place in _PLACES:
            place.connect()
        control = self.control
        control.issue(nodes=_PLACES)
        server = S3Server(owner=self.folder, credentials=Credentials.create())
        server.start()
        control.start()
        say(f"starting {len(_PLACES)} nodes")
        nodes = self._all()
        for node in nodes.values():
            node.start()
        for node in nodes.values():
            self.wait_ready(node=node.name)
        environment = Environment(
            provider=self.name,
            kubeconfig=control.kubeconfig("admin"),
            path=str(BIN),
            host_address=network.HOST,
            s3_endpoint=server.endpoint,
            s3_host_endpoint=server.endpoint,
            s3_bucket=BUCKET,
            s3_region=REGION,
            s3_access_key_id=server.credentials.access_key_id,
            s3_secret_access_key=server.credentials.secret_access_key,
            operator_namespace=OPERATOR_NAMESPACE,
        )
        say("nodes are ready")
        return environment

    def down(self) -> None:
        """End everything and leave nothing behind, whatever state it is in."""
        folder = Path(_OWNER_NOTE.read_text()) if _OWNER_NOTE.exists() else self.folder
        if folder != self.folder:
            return
        for place in _PLACES:
            # Nodes first: their first process takes all their others and all their mounts with it.
            processes.end([process.pid for process in processes.owned(owner=folder, role=place.name)])
        processes.end([process.pid for process in processes.owned(owner=folder)])
        for place in _PLACES:
            remove_cgroups(place.name)
        network.disconnect()
        # Those of an image build that was killed.
        _unmount_below(CACHE / "containers")
        if folder.exists():
            _unmount_below(folder)
            shutil.rmtree(folder)
        _OWNER_NOTE.unlink(missing_ok=True)

    def load(self, *, images: list[str]) -> None:
        """Put built images into every running node."""
        layout = self.builder.layout(images=images)
        with ThreadPoolExecutor() as pool:
            loading = [pool.submit(node.load, layout=layout) for node in self._all().values()]
            for future in loading:
                future.result()

    @property
    def control(self) -> ControlPlane:
        """The control plane, for tests that stop a part of it."""
        return ControlPlane(folder=self.folder)

    @property
    def s3(self) -> S3Server:
        """The S3 server, for tests that stop it."""
        environment = Environment.read()
        if environment is None:
            raise ClusterError("no cluster is up")
        return S3Server(
            owner=self.folder,
            credentials=Credentials(
                access_key_id=environment.s3_access_key_id, secret_access_key=environment.s3_secret_access_key
            ),
        )

    def chart_values(self, *, environment: Environment) -> list[str]:
        """Images loaded by hand, and the S3 server of this machine."""
        return [*chart.local_image_values("operator", "runner"), *chart.store_values(environment=environment)]

    def nodes(self) -> tuple[str, ...]:
        return tuple(place.name for place in _PLACES)

    def stop_node(self, *, node: str) -> None:
        self._node(node).stop()

    def resume_node(self, *, node: str, pods_only: bool = False) -> None:
        self._node(node).resume(pods_only=pods_only)

    def kill_node(self, *, node: str) -> None:
        self._node(node).kill()

    def start_node(self, *, node: str) -> None:
        self._node(node).start()
        self.wait_ready(node=node)

    def wait_ready(self, *, node: str) -> None:
        """Wait until the API server calls a node Ready."""
        kubectl = (binaries.program("kubectl"), "--kubeconfig", self.control.kubeconfig("admin"))
        query = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"

        def ready() -> bool:
            return run(*kubectl, "get", "node", node, "--ignore-not-found", "-o", query) == "True"

        wait_until(f"{node} ready (see {self.folder / node}/*.log)", ready)

    def _node(self, name: str) -> Node:
        nodes = self._all()
        if name not in nodes:
            raise ClusterError(f"there is no {name}; the nodes are {', '.join(nodes)}")
        return nodes[name]

    def _all(self) -> dict[str, Node]:
        pause = self._pause_image()
        return {place.name: Node(place=place, control=self.control, pause=pause) for place in _PLACES}

    def _pause_image(self) -> Path:
        archive = CACHE / "images" / f"{binaries.program('pause').resolve().parent.name}.tar"
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            oci.write_archive(
                path=archive, image=PAUSE_IMAGE, files={"pause": binaries.program("pause")}, entrypoint=["/pause"]
            )
        return archive

    def _refuse_foreign(self) -> None:
        """Take down what a crash of this work tree left, and refuse what belongs to another."""
        if _OWNER_NOTE.exists() and (other := Path(_OWNER_NOTE.read_text())) != self.folder:
            if processes.owned(owner=other):
                raise ClusterError(f"this machine carries the cluster of {other}; `make cluster-down` there first")
            _OWNER_NOTE.write_text(str(self.folder))
        if self.folder.exists() or network.connected() or processes.owned(owner=self.folder):
            say("removing what is left of an earlier cluster")
            ENVIRONMENT.unlink(missing_ok=True)
            _OWNER_NOTE.write_text(str(self.folder))
            self.down()


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{folder}/")), reverse=True):
        run("umount", "--lazy", mount)
