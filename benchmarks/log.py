"""What a checkpoint costs: the log beside LangGraph's savers, in one run, on the same conversation.

    make bench-log                                          everything, about a quarter of an hour
    uv run --group bench python -m benchmarks.log --steps 100 500 --plot build/bench/log.svg

Each case runs in a process of its own, so that its peak memory is its own. The S3 server is a versitygw of this
benchmark's own on this machine; folders and databases lie beside its objects.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.savers.case import Case
from benchmarks.savers.conversation import conversation
from tests.api.store.servers import BUCKET, REGION, versitygw

STEPS: Final = (100, 500, 1000, 2000, 6000)
ENDPOINT: Final = "BENCH_S3_ENDPOINT"


def s3(count: int, _: Path) -> Case:
    """The log on the S3 server."""
    from benchmarks.savers import ours  # noqa: PLC0415 - a case loads its own contender alone

    return ours.on_s3(
        steps=conversation(steps=count), count=count, bucket=BUCKET, endpoint=os.environ[ENDPOINT], region=REGION
    )


def in_folder(count: int, place: Path) -> Case:
    """The log in a folder."""
    from benchmarks.savers import ours  # noqa: PLC0415

    return ours.in_folder(steps=conversation(steps=count), count=count, root=place)


def sqlite(count: int, place: Path, *, delta: bool = False) -> Case:
    """LangGraph's SQLite saver."""
    from benchmarks.savers import langgraph  # noqa: PLC0415

    return langgraph.sqlite_saver(steps=list(conversation(steps=count)), folder=place, delta=delta)


def sqlite_delta(count: int, place: Path) -> Case:
    """LangGraph's SQLite saver, with its beta channel."""
    return sqlite(count, place, delta=True)


def memory(count: int, _: Path, *, delta: bool = False) -> Case:
    """LangGraph's in-memory saver."""
    from benchmarks.savers import langgraph  # noqa: PLC0415

    return langgraph.memory_saver(steps=list(conversation(steps=count)), delta=delta)


def memory_delta(count: int, place: Path) -> Case:
    """LangGraph's in-memory saver, with its beta channel."""
    return memory(count, place, delta=True)


CONTENDERS: Final[dict[str, Callable[[int, Path], Case]]] = {
    "s3": s3,
    "folder": in_folder,
    "sqlite": sqlite,
    "sqlite-delta": sqlite_delta,
    "memory": memory,
    "memory-delta": memory_delta,
}


def measured(contender: str, *, steps: int, scratch: Path) -> Case:
    """One case, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        command = [sys.executable, "-m", "benchmarks.log", "--case", contender, str(steps), place]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=1800)
    return msgspec.json.decode(done.stdout, type=Case)


def table(cases: Sequence[Case]) -> str:
    """The figures as a Markdown table."""
    heads = (
        "contender | steps | written MiB | of state | kept MiB | objects | append ms p50 (early, late) | p99 "
        "| over raw PUT p50 | restore ms (its GETs, its listings) | peak MiB"
    )
    lines = [f"| {heads} |", "|" + " --- |" * (heads.count("|") + 1)]
    for case in cases:
        sampled = " ~" if case.note else " "
        row = (
            case.contender,
            f"{case.steps}",
            f"{sampled}{_mib(case.written_bytes)}".strip(),
            f"{sampled}{case.ratio:.2f}".strip(),
            "" if case.kept_bytes is None else _mib(case.kept_bytes),
            "" if case.objects is None else f"{case.objects}",
            f"{case.append_p50_ms:.2f} ({case.early_p50_ms:.2f}, {case.late_p50_ms:.2f})",
            f"{case.append_p99_ms:.2f}",
            "" if case.over_raw_p50_ms is None else f"{case.over_raw_p50_ms:+.2f} (raw {case.raw_p50_ms:.2f})",
            "" if case.restore_ms is None else f"{case.restore_ms:.0f}" + _requests(case),
            f"{case.peak_mib:.0f}",
        )
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def plot(cases: Sequence[Case], path: Path) -> None:
    """Bytes written against steps, both axes logarithmic, as an SVG."""
    import matplotlib  # noqa: PLC0415 - only the parent plots

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "log"
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    names = list(dict.fromkeys(case.contender for case in cases))
    for name in names:
        mine = [case for case in cases if case.contender == name]
        axes.plot([c.steps for c in mine], [c.written_bytes / 2**20 for c in mine], marker="o", label=name)
    state = [case for case in cases if case.contender == names[0]]
    axes.plot([c.steps for c in state], [c.state_bytes / 2**20 for c in state], "k:", label="the conversation itself")
    axes.set(xscale="log", yscale="log", xlabel="steps", ylabel="MiB written in all")
    axes.set_xticks(sorted({c.steps for c in cases}), [str(c) for c in sorted({c.steps for c in cases})], minor=False)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print the table, write JSON and plot."""
    parser = argparse.ArgumentParser(description="The checkpoint log beside LangGraph's savers.")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--output", type=Path, default=Path("build/bench/log.json"))
    parser.add_argument("--plot", type=Path, default=Path("build/bench/log.svg"))
    parser.add_argument("--case", nargs=3, metavar=("CONTENDER", "STEPS", "FOLDER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.case:
        contender, steps, place = chosen.case
        sys.stdout.buffer.write(msgspec.json.encode(CONTENDERS[contender](int(steps), Path(place))))
        return
    folder = chosen.output.parent.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch, versitygw(Path(scratch) / "s3") as server:
        os.environ |= {ENDPOINT: server.endpoint, "AWS_ACCESS_KEY_ID": server.access_key_id}
        os.environ |= {"AWS_SECRET_ACCESS_KEY": server.secret_access_key}
        for contender in chosen.contenders:
            for steps in chosen.steps:
                print(f"{contender}, {steps} steps", file=sys.stderr)
                cases.append(measured(contender, steps=steps, scratch=Path(scratch)))
                chosen.output.write_bytes(msgspec.json.format(msgspec.json.encode(cases)))
    plot(cases, chosen.plot)
    print(table(cases))


def _requests(case: Case) -> str:
    return "" if case.restore_gets_ms is None else f" ({case.restore_gets_ms:.0f}, {case.restore_lists_ms:.0f})"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"


if __name__ == "__main__":
    main()
