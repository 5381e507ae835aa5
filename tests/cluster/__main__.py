"""Test clusters from the shell: `python -m tests.cluster --help`."""
from tests.cluster.native import Native
import sys
n=Native()
if sys.argv[1]=="up":
    n.up().write()
elif sys.argv[1]=="down":
    from tests.cluster.paths import ENVIRONMENT
    ENVIRONMENT.unlink(missing_ok=True); n.down()
