"""A program that counts, and what it did, as a file outside its folder tells: `python counting.py LEDGER STEPS`.

Its folder is whole when the number in `n` and the bytes in `big` agree. A line of the ledger is a fact: that it began
with a number, that it did a step, that a checkpoint was acknowledged.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path


def main(ledger: Path, steps: int) -> int:
    state = Path(os.environ["AGENTTASK_STATE_DIR"])
    n = int((state / "n").read_text()) if (state / "n").exists() else 0
    whole = not n or (state / "big").read_bytes() == big(n)
    note(ledger, "began" if whole else "torn", n)
    while n < steps:
        n += 1
        note(ledger, "did", n)
        for name, body in (("n", str(n).encode()), ("big", big(n))):
            (state / f"{name}.new").write_bytes(body)
            (state / f"{name}.new").rename(state / name)
        ask({"do": "progress", "step": n, "total": steps, "text": f"step {n}"})
        if not ask({"do": "checkpoint"}):
            return 1
        note(ledger, "acknowledged", n)
    Path(os.environ["AGENTTASK_RESULT"]).write_text(f"counted to {n}")
    return 0


def big(n: int) -> bytes:
    """Too large for the record."""
    return n.to_bytes(2, "big") * 5000


def note(ledger: Path, fact: str, n: int) -> None:
    with ledger.open("a") as file:
        file.write(f"{fact} {n}\n")


def ask(request: object) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ["AGENTTASK_SOCKET"])
        connection.sendall(json.dumps(request).encode() + b"\n")
        line = connection.makefile("rb").readline()
        return bool(line) and bool(json.loads(line)["ok"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
