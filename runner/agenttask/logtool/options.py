"""What `agenttask log` understands on its command line. Imports little but argparse: every command pays for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

_EPILOG: Final = """\
A STORE-URL is s3://bucket/prefix, redis://host:6379/0/prefix, rediss://… or a folder, and may lead on to one run:
…/<namespace>/<task>/<uid>. With -n, TASK is a task of the cluster: its place comes from its status, its keys from
its Secret, both through kubectl.

exit codes: 0; 1: not whole, or not there; 2: usage; 69: no answer; 70: a defect; 78: refused, missing or misconfigured
"""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    log = commands.add_parser(
        "log",
        help="look at the checkpoint logs of runs, verify and prune them",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = log.add_subparsers(dest="verb", required=True)

    _verb(verbs, "ls", "list the runs under a place, or the records of one run", outputs=("table", "wide", "json"))

    show = _verb(verbs, "show", "print the conversation, and where one attempt ends and the next begins")
    _at(show)
    show.add_argument("--full", action="store_true", help="cut no long text")

    _verb(verbs, "verify", "read all of a log, blobs and snapshots included, and say what is wrong where")

    restore = _verb(verbs, "restore", "write the state as JSON", outputs=("json",))
    _at(restore)
    restore.add_argument(
        "--files", type=Path, metavar="DIR", help="also put a program's folder there, which must be new"
    )

    _verb(verbs, "result", "print the whole answer of a run that is over")

    prune = _verb(verbs, "prune", "name what nobody needs any more; with --yes, delete it")
    prune.add_argument("--keep-last", type=_positive, metavar="N", help="snapshots to keep (default: the task's, or 3)")
    prune.add_argument("--yes", action="store_true", help="delete; without it nothing is touched")


def _verb(verbs: Any, name: str, words: str, *, outputs: tuple[str, ...] = ("text", "json")) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=words,
        description=f"{words[0].upper()}{words[1:]}.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("place", metavar="STORE-URL|TASK", help="where the logs lie; with -n, the name of a task")
    verb.add_argument("-n", "--namespace", help="the task's namespace")
    verb.add_argument("--context", help="which of kubectl's contexts to ask (default: the current one)")
    verb.add_argument("--endpoint", metavar="URL", help="reach the store here, as through a forwarded port")
    verb.add_argument("-o", "--output", choices=outputs, default=outputs[0], help="default: %(default)s")
    return verb


def _at(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--at", type=_positive, metavar="SEQ", help="as it was after this record (default: the newest)")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return int(text)
