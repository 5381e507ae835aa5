"""The command line. `attempt` and `purge` are what runs in pods; `run` is a task without a cluster; `validate` looks at
one before either; `log` looks at logs; `checkpoint` and `progress` are for the program of a task that runs.

A command's module is imported once it is known which one is meant.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agenttask.contract import ASSIGNMENT_PATH, PROGRAM_DIR, TERMINATION_PATH, TOKEN_DIR
from agenttask.logtool import options


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `agenttask` command; the exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "attempt":
        from agenttask.pod import attempt  # noqa: PLC0415 - see the docstring

        return attempt(
            assignment_path=arguments.assignment,
            token_dir=arguments.token_dir,
            program_dir=arguments.program_dir,
            termination_path=arguments.termination_log,
        )
    if arguments.command == "purge":
        from agenttask.purge import purge  # noqa: PLC0415

        return purge(assignment_path=arguments.assignment, termination_path=arguments.termination_log)
    if arguments.command == "validate":
        from agenttask.validate import validate_file  # noqa: PLC0415

        return validate_file(path=arguments.file, connect=arguments.connect, output=arguments.output)
    if arguments.command == "log":
        from agenttask.logtool.main import run as look  # noqa: PLC0415

        return look(arguments)
    if arguments.command in ("checkpoint", "progress"):
        from agenttask.program.say import say  # noqa: PLC0415

        return say(_request(arguments))
    from agenttask.local import run_file  # noqa: PLC0415

    return run_file(path=arguments.file, store=arguments.store, fresh=arguments.fresh)


def _request(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a program says to its runner."""
    if arguments.command == "checkpoint":
        return {"do": "checkpoint"}
    text = " ".join(arguments.text)
    return {"do": "progress", "step": arguments.step, "total": arguments.total, "text": text}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agenttask", description="Durable AI agents.")
    parser.add_argument("--version", action="version", version=f"agenttask {version('agenttask')}")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, says: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.")

    attempt = add("attempt", "run one attempt of a task: what a runner pod does")
    attempt.add_argument("--assignment", type=Path, default=Path(ASSIGNMENT_PATH), help="default: %(default)s")
    attempt.add_argument("--token-dir", type=Path, default=Path(TOKEN_DIR), help="default: %(default)s")
    attempt.add_argument("--program-dir", type=Path, default=Path(PROGRAM_DIR), help="default: %(default)s")
    attempt.add_argument("--termination-log", type=Path, default=Path(TERMINATION_PATH), help="default: %(default)s")

    purge = add("purge", "remove the log of a task that is being deleted: what its last pod does")
    purge.add_argument("--assignment", type=Path, default=Path(ASSIGNMENT_PATH), help="default: %(default)s")
    purge.add_argument("--termination-log", type=Path, default=Path(TERMINATION_PATH), help="default: %(default)s")

    run = add("run", "run a task from a file, without a cluster; run it again to resume")
    run.add_argument("file", type=Path, metavar="FILE", help="an AgentTask manifest (YAML); - is standard input")
    run.add_argument(
        "--store", required=True, metavar="STORE-URL", help="where the log goes: a folder, s3://…, redis://…"
    )
    run.add_argument("--fresh", action="store_true", help="start over, under a new uid")

    validate = add("validate", "say what is wrong with a task in a file; 1 if something is")
    validate.add_argument("file", type=Path, metavar="FILE", help="an AgentTask manifest (YAML); - is standard input")
    validate.add_argument(
        "--connect", action="store_true", help="ask its model, its tools' hosts and its MCP servers whether they answer"
    )
    validate.add_argument("-o", "--output", choices=["text", "json"], default="text", help="default: %(default)s")

    add("checkpoint", "for a task's program: store its folder; returns once it is durable (1: it cannot be stored)")
    progress = add("progress", "for a task's program: say how far it is")
    progress.add_argument("step", type=int, metavar="STEP", help="steps done")
    progress.add_argument("total", type=int, metavar="TOTAL", help="steps there are; 0 if nobody knows")
    progress.add_argument("text", nargs="*", metavar="TEXT", help="what it is doing")
    options.add(commands)
    return parser
