"""Where the test clusters keep what they make.

`STATE` belongs to one running cluster and vanishes with it; it may be a link to that of another work tree. `CACHE`
holds what is dear to build and safe to keep, and is shared by all work trees of one user.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
STATE: Final = (ROOT / ".cluster").resolve()
CACHE: Final = (
    Path(os.environ["AGENTTASK_CACHE"])
    if os.environ.get("AGENTTASK_CACHE")
    else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agenttask"
).absolute()

ENVIRONMENT: Final = STATE / "env"
"""The `source`-able description of the running cluster; it exists exactly while one is usable."""
BIN: Final = STATE / "bin"
"""Links to the programs this cluster uses (kubectl, helm and, on native, the control plane)."""
