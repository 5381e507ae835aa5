"""Debian packages the native provider runs on: installed where missing, and never at the price of another package."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from tests.cluster.shell import ClusterError, run, say

NATIVE: Final = {
    "containerd": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
}
"""A program (or file) that must be there, and the package that brings it."""


def is_debian_root() -> bool:
    """Whether this machine is Debian (or made from it) and this process is root."""
    return os.geteuid() == 0 and Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def require(needed: dict[str, str]) -> None:
    """Install the packages whose programs are missing. Raises ClusterError if that fails."""
    missing = sorted({package for thing, package in needed.items() if not _present(thing)})
    if not missing:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    say(f"installing Debian packages: {' '.join(missing)} (nothing is removed)")
    run("apt-get", "update", "-q", env=environment)
    # containerd.io and docker.io bring their own runtime: rather fail than replace one.
    run("apt-get", "install", "-q", "-y", "--no-remove", "--no-install-recommends", *missing, env=environment)
    still = sorted({package for thing, package in needed.items() if not _present(thing)})
    if still:
        raise ClusterError(f"these packages did not bring what is expected of them: {' '.join(still)}")


def _present(thing: str) -> bool:
    # Root's PATH lacks sbin in some shells.
    return Path(thing).exists() if thing.startswith("/") else shutil.which(thing, path=search_path()) is not None


def search_path() -> str:
    """PATH with the system folders in it."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"
