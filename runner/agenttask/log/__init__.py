"""The checkpoint log: what an attempt has done, durable, verified and fenced, on any object store.

It knows nothing of agents. `Log.open` restores and claims, `Log.append` commits, `Log.snapshot` shortens what a restore
has to replay; `read` looks without touching. `docs/checkpoint-log.md` has the protocol on one page.
"""

from agenttask.log.blob import Pieces, read_blob
from agenttask.log.chain import Bad
from agenttask.log.claim import Charge, Left, OnCorruption, Recorded
from agenttask.log.keys import Keys
from agenttask.log.log import Log, Opened, Policy
from agenttask.log.patience import Patience
from agenttask.log.prune import prunable
from agenttask.log.purge import Purged, purge
from agenttask.log.reader import each_record, read
from agenttask.log.record import (
    VOLATILE,
    Abandoned,
    BlobRef,
    Content,
    Event,
    Holder,
    Kind,
    Origin,
    Placed,
    Record,
    RecordRef,
    SnapshotRef,
)
from agenttask.log.restore import Lost, Restored, attached_to
from agenttask.log.seed import Seed
from agenttask.log.snapshot import Frozen, Manifest, Snapshot
from agenttask.log.survey import Shot, Survey, survey

__all__ = [
    "VOLATILE",
    "Abandoned",
    "Bad",
    "BlobRef",
    "Charge",
    "Content",
    "Event",
    "Frozen",
    "Holder",
    "Keys",
    "Kind",
    "Left",
    "Log",
    "Lost",
    "Manifest",
    "OnCorruption",
    "Opened",
    "Origin",
    "Patience",
    "Pieces",
    "Placed",
    "Policy",
    "Purged",
    "Record",
    "RecordRef",
    "Recorded",
    "Restored",
    "Seed",
    "Shot",
    "Snapshot",
    "SnapshotRef",
    "Survey",
    "attached_to",
    "each_record",
    "prunable",
    "purge",
    "read",
    "read_blob",
    "survey",
]
