"""The checkpoint log: what an attempt has done, durable and fenced, on any object store. It knows nothing of agents.

`Log.open` restores and claims, `Log.append` commits; `docs/checkpoint-log.md` has the protocol on one page.
"""

from agenttask.log.claim import Recorded
from agenttask.log.log import Log, Opened
from agenttask.log.patience import Patience
from agenttask.log.reader import read
from agenttask.log.record import VOLATILE, Event, Holder, Kind, Record, RecordRef

__all__ = [
    "VOLATILE",
    "Event",
    "Holder",
    "Kind",
    "Log",
    "Opened",
    "Patience",
    "Record",
    "RecordRef",
    "Recorded",
    "read",
]
