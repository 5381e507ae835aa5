"""The operator's own process, against a copy of its API.

    python process.py GROUP POLICY PORT

Everything else is as in the image: the configuration file, the kubeconfig and POD_NAME by their variables.
"""

from __future__ import annotations

import functools
import sys

from agenttask import contract
from agenttask_operator import cluster, main

if __name__ == "__main__":
    group, policy, port = sys.argv[1:]
    contract.GROUP = group  # type: ignore[misc]
    cluster.STATUS_POLICY = policy  # type: ignore[misc]
    main.Operator = functools.partial(main.Operator, port=int(port))  # type: ignore[assignment, misc]
    main.main()
