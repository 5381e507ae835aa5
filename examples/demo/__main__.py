"""`python -m examples.demo`: an agent loses its pod, then its node, and goes on. See README.md."""

from __future__ import annotations

import argparse
import os
import sys

from examples.demo import locally, on_cluster
from examples.demo.shell import DemoError, say
from tests.cluster.environment import Environment


def main() -> None:
    """Play the demo on the running cluster, or without one where `--local` says so."""
    parser = argparse.ArgumentParser(prog="demo", description="An agent loses its pod, then its node, and goes on.")
    parser.add_argument("--local", action="store_true", help="without a cluster: agenttask run and kill -9")
    local = parser.parse_args().local
    environment = None if local else Environment.read()
    try:
        if local:
            say("The demo without a cluster.")
            locally.play()
        elif environment is None:
            sys.exit("no cluster is up: make cluster-up, or python -m examples.demo --local")
        else:
            # As `source .cluster/env` would.
            os.environ.update(environment.variables())
            os.environ["PATH"] = f"{environment.path}:{os.environ['PATH']}"
            somebodys = environment.provider == "current"
            on_cluster.play(
                on_cluster.Place(namespace=environment.operator_namespace, ours=False)
                if somebodys
                else on_cluster.Place()
            )
    except DemoError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
