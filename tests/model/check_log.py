"""Exhaustive check, on small bounds, of the checkpoint log's protocol: what the log promises, in every order of events.

    python -m tests.model.check_log                     every search that `make test` makes
    python -m tests.model.check_log --attempts 2 --slots 5 --appends 2 --purge      wider bounds; minutes
    python -m tests.model.check_log --without DELETE_CLAIMS …                       a rule left out: must end in BROKEN

Promised: nothing of an older attempt is acknowledged behind a newer attempt's confirmed claim or, should that go bad,
behind a record that attempt acknowledged; no acknowledged content replaces another; a finished log is never claimed
again, except by a purge; nobody works on in a park whose end they were not told; what a newest attempt has acknowledged
can be restored with every blob it names, whatever writers that are asleep still delete and whatever a rewind has left
behind; a fork never needs its original again; attached content that is used again is there, and was good when it was
used. Extend this model before changing the protocol.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Final

from tests.model import attached_model, fork_model, log_model
from tests.model.explore import Outcome, explore
from tests.model.log_world import Rules, Weakness, start

AT_MOST: Final = 20_000_000

SEARCHES: Final[dict[str, Rules]] = {
    "claim, append, final, retention and purge": Rules(attempts=2, slots=4, appends=1, purge=True),
    "park, its answer lost, met behind a stale listing": Rules(attempts=2, slots=5, parks=True),
    "three attempts and two parks": Rules(attempts=3, slots=6, parks=True, late=False, finishes=False),
    "two things damaged, rewind beside a sleeping writer": Rules(
        attempts=2, slots=6, appends=3, snapshots=True, damages=2, late=False, finishes=False
    ),
    "a rewinding attempt that dies, and its successor": Rules(
        attempts=3, slots=6, appends=2, snapshots=True, damages=1, late=False, finishes=False
    ),
    "a claim goes bad, and an older attempt comes late": Rules(
        attempts=3, slots=5, appends=2, snapshots=True, claims_damaged=1, late=False
    ),
}
"""What holds, keyed by what can happen in it."""

LEFT_OUT: Final[dict[Weakness, str]] = {
    Weakness.NO_CONFIRM: "claim, append, final, retention and purge",
    Weakness.PURGE_CLAIMS: "claim, append, final, retention and purge",
    Weakness.IGNORE_FINAL: "claim, append, final, retention and purge",
    Weakness.IGNORE_PARK: "park, its answer lost, met behind a stale listing",
    Weakness.PARK_SEEN_EARLY: "park, its answer lost, met behind a stale listing",
    Weakness.WAKE_WITHOUT_ID: "three attempts and two parks",
    Weakness.SHARE_BLOBS: "two things damaged, rewind beside a sleeping writer",
    Weakness.NO_REWIND_SNAPSHOT: "two things damaged, rewind beside a sleeping writer",
    Weakness.BLOBS_GO_EARLY: "two things damaged, rewind beside a sleeping writer",
    Weakness.DELETE_NEWER: "two things damaged, rewind beside a sleeping writer",
    Weakness.CLAIM_IN_GAP: "two things damaged, rewind beside a sleeping writer",
    Weakness.REWIND_FORGOTTEN: "a rewinding attempt that dies, and its successor",
    Weakness.CLAIMS_ALONE: "a claim goes bad, and an older attempt comes late",
}
"""Which search has to find each weakness. DELETE_CLAIMS shows only in one of its own, with more room."""

ROOMY: Final = Rules(attempts=2, slots=6, appends=2, weak=frozenset({Weakness.DELETE_CLAIMS}))


def search(rules: Rules) -> Outcome:
    """Every order of events of a log within these bounds."""
    return explore(start(rules), partial(log_model.moves, rules=rules), at_most=AT_MOST)


def search_fork(rules: fork_model.Rules) -> Outcome:
    """Every order of events of a fork within these bounds."""
    return explore(fork_model.start(rules), partial(fork_model.moves, rules=rules), at_most=AT_MOST)


def search_attached(rules: attached_model.Rules) -> Outcome:
    """Every order of events of content that goes and comes back, within these bounds."""
    return explore(attached_model.start(rules), partial(attached_model.moves, rules=rules), at_most=AT_MOST)


def main() -> int:
    """Search as asked; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description="Check the checkpoint log's protocol exhaustively.")
    parser.add_argument("--without", action="append", default=[], choices=[weak.name for weak in Weakness])
    for number, default in (("attempts", 2), ("slots", 5), ("appends", 1), ("damages", 0), ("claims-damaged", 0)):
        parser.add_argument(f"--{number}", type=int, default=default)
    for flag in ("purge", "parks", "snapshots", "no-late", "no-final"):
        parser.add_argument(f"--{flag}", action="store_true")
    if len(sys.argv) == 1:
        outcomes = {name: search(rules) for name, rules in SEARCHES.items()}
        outcomes["fork"] = search_fork(fork_model.Rules())
        outcomes["attached content"] = search_attached(attached_model.Rules())
    else:
        chosen = parser.parse_args()
        rules = Rules(
            attempts=chosen.attempts,
            slots=chosen.slots,
            appends=chosen.appends,
            damages=chosen.damages,
            claims_damaged=chosen.claims_damaged,
            purge=chosen.purge,
            parks=chosen.parks,
            snapshots=chosen.snapshots,
            late=not chosen.no_late,
            finishes=not chosen.no_final,
            weak=frozenset(Weakness[name] for name in chosen.without),
        )
        outcomes = {str(rules): search(rules)}
    for name, outcome in outcomes.items():
        sys.stdout.write(f"{name}: {outcome}\n")
    return int(any(outcome.broken is not None for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
