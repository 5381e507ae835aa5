"""Pure: what a person may delete of a log that nobody has open, beyond what retention has deleted by itself."""

from __future__ import annotations

from agenttask.log.record import Kind, Record
from agenttask.log.survey import Shot, Survey


def prunable(found: Survey, *, keep_last: int) -> tuple[str, ...]:
    """Keys of what no restore from the newest `keep_last` snapshots needs; never claims, and nothing of a damaged log.

    Of a log that is not final nothing is named that a writer, if there is one, may be about to need: no blob, nothing
    that was left too late, and no snapshot behind the oldest kept one.
    """
    restored = found.restored
    if found.problems or restored is None or restored.lost is not None:
        return ()
    counted = {ref.seq for ref in restored.counted}
    good = [shot for shot in found.snapshots if shot.manifest is not None and shot.seq in counted]
    kept = good[-keep_last:]
    oldest = kept[0].seq if len(kept) == keep_last else 0
    final = restored.final is not None
    limit = restored.head if final else oldest - 1
    seqs = {shot.seq for shot in kept}
    # What a fork began with lies among the blobs, and goes with them.
    shots = [shot.key for shot in found.snapshots if 0 < shot.seq <= limit and shot.seq not in seqs]
    records = [each.key for each in found.records if _may_go(each, oldest=oldest)]
    if not final:
        return (*records, *shots)
    return (*records, *shots, *_blobs(found, kept=kept, oldest=oldest), *(entry.key for entry in found.lates))


def _may_go(each: object, *, oldest: int) -> bool:
    return isinstance(each, Record) and each.kind is not Kind.CLAIM and each.seq <= oldest


def _blobs(found: Survey, *, kept: list[Shot], oldest: int) -> tuple[str, ...]:
    """Those that neither the snapshots kept nor the records behind the oldest of them name."""
    needed = {found.keys.named(ref.name) for shot in kept if shot.manifest is not None for ref in shot.manifest.needed}
    needed |= {shot.key for shot in kept}
    for each in found.records:
        if isinstance(each, Record) and each.seq > oldest:
            needed |= {found.keys.named(ref.name) for ref in each.needed}
    return tuple(entry.key for entry in found.blobs if entry.key not in needed)
