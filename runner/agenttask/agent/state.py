"""The agent's state: what a fold over the log's events knows. Frozen; `reducer.reduce` makes the next one."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from agenttask.agent.events import Charge, Ended, Item, Parked

PLACEHOLDER = "(no text)"
"""Content of an assistant message that has neither text nor calls: endpoints refuse an empty one."""
LONG_RESULT = 200
"""Characters. To leave out less than that saves nothing."""
DROPPED = "(left out, as the conversation is long; call the tool again if it matters)"
"""What is sent in place of an old result."""
SUMMARY = "The conversation so far was too long. Its first part is summed up here:\n\n{summary}"
KEPT_DOUBTS = 50
KEPT_ATTEMPTS = 10
"""How many attempts the state counts one by one; older ones live on in the totals."""
KEPT_LATENCIES = 100
"""How many latencies of each model the state keeps."""
AUTHOR = "agenttask.author"
"""Key in a message of the conversation: the model that wrote it, where that is not `State.author`. Never sent."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One tool call of the newest reply."""

    id: str
    """Our identity, `<seq of the reply>.<index>`: providers reuse theirs."""
    provider_id: str
    """The id in the conversation, unique there."""
    tool: str
    arguments: str
    """A JSON object; `{}` where the model sent something else."""
    problem: str | None = None
    """Why the call cannot run, in words for the model."""
    result: str | None = None
    intent: int | None = None
    """The attempt that was about to run it, if it must not run twice."""
    doubtful: bool = False
    """That attempt is gone, and whether the call took effect is not known."""


class Doubted(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the run has gone on from without knowing how it ended."""

    call: str
    tool: str
    repeated: bool = False
    """It was run once more."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """A park: the number of its record, which is its identity, and what that record says."""

    seq: int
    parked: Parked


class AttemptTally(msgspec.Struct, frozen=True, kw_only=True):
    """Model calls of one attempt."""

    attempt: int
    model_calls: int = 0
    repeated_model_calls: int = 0


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """How a program stood when its folder was stored last."""

    items: tuple[Item, ...] = ()
    """By path."""
    step: int = 0
    total: int = 0
    """0: it has not said."""
    text: str = ""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a runner must know to go on."""

    started: bool = False
    prompt: str = ""
    system_prompt: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    finish: bool = False
    """The answer is given by calling the tool `finish`."""

    conversation: tuple[dict[str, Any], ...] = ()
    """Messages after the system prompt, exactly as they are sent; a reply's results enter together, once all are in."""
    provider_ids: frozenset[str] = frozenset()
    """Every call id in the conversation."""
    calls: tuple[Call, ...] = ()
    """The calls of the newest reply, as long as one of them has no result."""
    numbered: tuple[int, int] = (0, 0)
    """The newest record with calls, and how many calls have their identity from it."""
    doubted: tuple[Doubted, ...] = ()
    """Calls whose outcome may still come to light; the newest `KEPT_DOUBTS`."""
    dropped: int = 0
    """What tool calls returned is not sent any more, of messages before this one."""
    summarised: int = 0
    """Messages before this one are not sent; the summary is."""
    summary: str = ""
    summaries: int = 0
    """Replies that were summaries."""
    room: int = 0
    """Tokens to which requests are being brought down; 0: they are not."""
    answer: str | None = None
    """The reply that asked for nothing more, or what the tool `finish` was called with."""
    refused_answers: int = 0
    """Answers that had not the form they must have."""
    cut_replies: int = 0
    """Replies in a row that cannot be used: cut off, filtered or empty."""
    last_finish: str = ""

    step: int = 0
    """Model replies so far."""
    tool_calls: int = 0
    repeated_model_calls: int = 0
    """Model calls whose reply was lost with its attempt."""
    abandoned_model_calls: int = 0
    """Model calls whose replies a rewind has left behind."""
    failed_calls: int = 0
    """Tries at a model call that gave no reply."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    """Of all calls that have a price."""
    unpriced_calls: int = 0
    unpriced_tokens: int = 0
    lost_prompt_tokens: int = 0
    """Estimated, like the next: of calls whose reply never came, though it was probably paid for."""
    lost_completion_tokens: int = 0

    author: str = ""
    """The model of all replies that name no other."""
    link: int = 0
    """Place in the chain of the model in use."""
    model: str = ""
    """Its name; empty before the first reply."""
    replies: int = 0
    """How many came from it since it is in use."""
    latencies: dict[str, tuple[int, ...]] = {}
    """The newest `KEPT_LATENCIES` of each model: milliseconds to the first token, or to the deadline it ran into."""

    measured_messages: int = 0
    measured_tokens: int = 0
    """Size of a request with the conversation's first `measured_messages` in it, by its endpoint's count."""
    attempts: tuple[AttemptTally, ...] = ()
    """The newest `KEPT_ATTEMPTS`, oldest first."""
    inherited: Charge | None = None
    """Of a fork: what its original had used; in none of the numbers above."""

    program: Program | None = None
    """Of a run of a program, of which the fields above that speak of a model know nothing."""
    wait: Wait | None = None
    """Where the run is parked."""
    quota_parks: int = 0
    """How often it has been parked since the newest reply because a quota was used up."""
    stopped: bool = False
    """The newest event says that the attempt ended on purpose, with no model call in flight."""
    ended: Ended | None = None

    @property
    def open_calls(self) -> tuple[Call, ...]:
        """Calls that still need a result."""
        return tuple(call for call in self.calls if call.result is None)

    @property
    def doubtful_calls(self) -> tuple[Call, ...]:
        """Those of the open calls that may have run."""
        return tuple(call for call in self.open_calls if call.doubtful)

    @property
    def tokens(self) -> int:
        """All that were sent and received, those of lost calls included."""
        return self.prompt_tokens + self.completion_tokens + self.lost_prompt_tokens + self.lost_completion_tokens

    @property
    def last_words(self) -> str:
        """The newest text of the model: all there is of a run that ends without an answer."""
        texts = (text_of(each.get("content")) for each in reversed(self.conversation) if each["role"] == "assistant")
        return next((text for text in texts if text and text != PLACEHOLDER), "")

    @property
    def awaits_model(self) -> bool:
        """Whether the next thing this run needs is a model call."""
        waits = bool(self.calls) or self.wait is not None or self.program is not None
        return self.started and not waits and self.answer is None and self.ended is None

    @property
    def lost_cost_usd(self) -> Decimal:
        """What the lost calls cost, estimated."""
        return self.cost_usd * (self.lost_prompt_tokens + self.lost_completion_tokens) / self._priced_tokens

    @property
    def spent_usd(self) -> Decimal:
        """All that was paid, an estimate for what has no price included: at the mean price of a token."""
        return self.cost_usd + self.lost_cost_usd + self.cost_usd * self.unpriced_tokens / self._priced_tokens

    @property
    def _priced_tokens(self) -> int:
        return max(1, self.prompt_tokens + self.completion_tokens - self.unpriced_tokens)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The whole request's messages."""
        head: list[dict[str, Any]] = []
        if self.system_prompt:
            head.append({"role": "system", "content": self.system_prompt})
        if self.summarised:
            head += [{"role": "user", "content": text} for text in self._kept_prompts]
            head.append({"role": "user", "content": SUMMARY.format(summary=self.summary)})
        return [*head, *map(self.sent, range(self.summarised, len(self.conversation)))]

    def sent(self, index: int) -> dict[str, Any]:
        """The conversation's message of this number, as it is sent."""
        message = self.conversation[index]
        return {**message, "content": DROPPED} if index < self.dropped and is_droppable(message) else message

    @property
    def _kept_prompts(self) -> Iterator[str]:
        """What was asked, and is not sent where it stands: of a fork, the original's prompt and its own."""
        first = str(self.conversation[0]["content"])
        yield first
        rest = self.conversation[self.summarised :]
        if self.prompt != first and {"role": "user", "content": self.prompt} not in rest:
            yield self.prompt


def is_droppable(message: dict[str, Any]) -> bool:
    """Whether it says what a tool call returned, and at length."""
    return message["role"] == "tool" and len(str(message["content"])) > LONG_RESULT


def text_of(content: object) -> str:
    """The text of a message's content, which may be a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
    return ""
