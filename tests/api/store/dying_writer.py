"""One put to a folder by a process of its own, which dies by SIGKILL when it is about to link the file to its name.

python -m tests.api.store.dying_writer FOLDER
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from agenttask.store.filesystem import FilesystemStore


def _die_before_the_link(event: str, _: tuple[object, ...]) -> None:
    if event == "os.link":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.addaudithook(_die_before_the_link)
    put = FilesystemStore(root=sys.argv[1]).put_if_absent("a/log/1", b"the dead one's", first=True)
    asyncio.run(put)
