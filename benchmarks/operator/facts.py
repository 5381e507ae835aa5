"""What the operator's process tells of itself; both ends import this."""

from __future__ import annotations

from typing import Self

import msgspec

_READS = ("GET",)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Counted since the process started."""

    calls: dict[str, int]
    """API calls of workers and resync by method and kind; watches and the lease's renewals are not among them."""
    reconciles: int
    resyncs: tuple[tuple[float, float], ...]
    """Begin and end of each, in seconds since the process started."""

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, text: bytes) -> Self:
        """From JSON."""
        return msgspec.json.decode(text, type=cls)

    @property
    def writes(self) -> int:
        """Writes, Events among them."""
        return sum(count for call, count in self.calls.items() if not call.startswith(_READS))

    @property
    def events(self) -> int:
        """Events written."""
        return self.calls.get("POST events", 0)

    def since(self, before: Self) -> Self:
        """What was counted since `before`."""
        calls = {call: count - before.calls.get(call, 0) for call, count in self.calls.items()}
        return type(self)(
            calls={call: count for call, count in sorted(calls.items()) if count},
            reconciles=self.reconciles - before.reconciles,
            resyncs=self.resyncs[len(before.resyncs) :],
        )
