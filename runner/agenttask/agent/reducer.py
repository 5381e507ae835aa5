"""state = reduce(state, event): pure, total, and the only way a state changes.

                     Started
    (empty) ────────────────────▶ awaits model ◀──────────────┬──────────────┐
                                    │  Replied                 │ the last     │ AnswerRefused
                                    ├──────────▶ open calls ───┘ ToolReturned │
                                    └──────────▶ answer ──────────────────────┘
                                                   └───Ended──▶ ended

A cut, filtered or empty reply leads back to *awaits model* with a sentence for the model in the conversation, and so
does what `CameToLight`. `Dropped` and `Summarised` make its requests shorter (`context`). `Claimed` and `Stopped` lie
between any two of these and change the accounts only. Between a `Parked` and its `Woken` there are but claims, and
parks anew by attempts that came too early. The run of a program has but `Stored` between its start and its end.

What happens to open calls is in `ledger`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from agenttask.agent import accounts, context, ledger
from agenttask.agent.events import (
    AnswerRefused,
    CameToLight,
    Charge,
    Claimed,
    Dropped,
    Ended,
    Event,
    Intended,
    ModelSwitched,
    Parked,
    Reconfigured,
    Replied,
    Started,
    Stopped,
    Stored,
    Summarised,
    ToolReturned,
    Withdrawn,
    Woken,
)
from agenttask.agent.state import AUTHOR, KEPT_ATTEMPTS, PLACEHOLDER, AttemptTally, Call, Program, State, Wait, text_of
from agenttask.contract import FINISH_TOOL, RunnerReason

CUT_REASONS = {
    "length": "Your last reply was cut off at the length limit; none of its tool calls was run. Reply again, shorter.",
    "content_filter": "Your last reply was stopped by a content filter; none of its tool calls was run. Reply again.",
}
"""What the model is told of a reply that is not whole, by its finish reason (`CUT`)."""
EMPTY_REPLY = "Your last reply was empty. Call a tool, or give your answer."
NOT_FINISHED = f"Go on. When you are done, call the tool {FINISH_TOOL} with your answer."
"""What the model is told that must finish by a tool and has called none."""
FINISHED = "received"
"""Result of the call that gives the answer."""
FINISHED_EARLY = f"call {FINISH_TOOL} alone, once the results of all other calls are there"
FINISHED_WITHOUT = f"{FINISH_TOOL} needs an argument named answer"
BYTES_PER_TOKEN = 4
"""For estimates."""
MAX_DEPTH = 100
"""How deep what a model sends may be nested. Far below where decoders give up, so that every replay decides alike."""


def reduce(state: State, event: Event, *, seq: int) -> State:
    """The state after an event of record `seq`."""
    changed = _apply(state, event, seq)
    stopped = isinstance(event, Parked) or (isinstance(event, Stopped) and not event.calling)
    return changed if changed.stopped == stopped else msgspec.structs.replace(changed, stopped=stopped)


def fold(events: Iterable[tuple[int, Event]], state: State = State()) -> State:  # noqa: B008 - frozen
    """The state after all `events`, each with the seq of its record."""
    for seq, event in events:
        state = reduce(state, event, seq=seq)
    return state


def estimate_tokens(value: object) -> int:
    """A rough count for what an endpoint did not report."""
    return len(msgspec.json.encode(value)) // BYTES_PER_TOKEN + 1


def _apply(state: State, event: Event, seq: int) -> State:
    match event:
        case Claimed():
            changed = _claimed(state, event)
        case Started() | Reconfigured():
            changed = _configured(state, event)
        case Replied():
            changed = _replied(state, event, seq)
        case Intended() | Withdrawn() | ToolReturned() | CameToLight():
            changed = ledger.apply(state, event)
        case Dropped() | Summarised():
            changed = context.apply(state, event)
        case AnswerRefused():
            changed = _answer_refused(state, event)
        case Parked():
            changed = _parked(state, event, seq)
        case Woken():
            changed = _woken(state, event)
        case Stored():
            changed = _stored(state, event)
        case Ended():
            changed = msgspec.structs.replace(state, ended=event)
        case ModelSwitched() | Stopped():
            changed = accounts.apply(state, event)
    return changed


def _configured(state: State, event: Started | Reconfigured) -> State:
    shaped = msgspec.structs.replace(
        state,
        system_prompt=event.system_prompt,
        tools=event.tools,
        finish=event.finish,
        measured_messages=0,
        measured_tokens=0,
    )
    if isinstance(event, Reconfigured):
        return shaped
    if event.program:
        return msgspec.structs.replace(shaped, started=True, prompt=event.prompt, program=Program())
    asked = {"role": "user", "content": event.prompt}
    return msgspec.structs.replace(shaped, started=True, prompt=event.prompt, conversation=(asked,))


def _claimed(state: State, event: Claimed) -> State:
    """Opens the attempt's account. An end nobody announced, with a model call due, may have lost a paid reply."""
    lost = int(bool(state.attempts) and state.awaits_model and not state.stopped)
    tally = AttemptTally(attempt=event.attempt)
    attempts = state.attempts
    if attempts and attempts[-1].attempt == event.attempt:
        tally, attempts = attempts[-1], attempts[:-1]
    tally = msgspec.structs.replace(tally, repeated_model_calls=tally.repeated_model_calls + lost)
    return msgspec.structs.replace(
        accounts.charged(state, event.charge or Charge()),
        calls=ledger.doubt(state.calls),
        attempts=(*attempts, tally)[-KEPT_ATTEMPTS:],
        repeated_model_calls=state.repeated_model_calls + lost,
        lost_prompt_tokens=state.lost_prompt_tokens + (estimate_tokens(state.messages) if lost else 0),
    )


def _parked(state: State, event: Parked, seq: int) -> State:
    """Parked once more without having been woken is the same wait."""
    anew = state.wait is None
    quota = anew and event.reason == RunnerReason.MODEL_QUOTA_EXHAUSTED
    return msgspec.structs.replace(
        accounts.apply(state, event) if anew else state,
        wait=Wait(seq=seq, parked=event),
        quota_parks=state.quota_parks + quota,
    )


def _woken(state: State, event: Woken) -> State:
    asleep = state.wait.parked.calls if state.wait is not None else ()
    state = msgspec.structs.replace(state, wait=None)
    for call in state.open_calls:
        if call.id in asleep:
            slept = ToolReturned(call=call.id, tool=call.tool, text=f"It is {event.time} now.", ok=True, ms=0)
            state = ledger.apply(state, slept)
    return state


def _stored(state: State, event: Stored) -> State:
    items = {item.path: item for item in state.program.items} if state.program is not None else {}
    for path in event.gone:
        items.pop(path, None)
    items |= {item.path: item for item in event.changed}
    ordered = tuple(items[path] for path in sorted(items))
    program = Program(items=ordered, step=event.step, total=event.total, text=event.text)
    return msgspec.structs.replace(state, program=program)


def _replied(state: State, event: Replied, seq: int) -> State:
    counted = msgspec.structs.replace(
        accounts.replied(state, event),
        last_finish=event.finish_reason,
        quota_parks=0,
        room=0,
        measured_messages=len(state.conversation) + 1,
        measured_tokens=event.tokens.prompt + event.tokens.completion,
    )
    message = {key: value for key, value in event.message.items() if value is not None or key == "content"}
    message["role"] = "assistant"
    if event.asked != counted.author:
        message[AUTHOR] = event.asked
    if event.is_cut:
        return _ask_again(counted, message, CUT_REASONS[event.finish_reason])
    if event.calls:
        return _calls_asked(counted, message, seq)
    message.pop("tool_calls", None)
    answer = text_of(message.get("content")) or text_of(message.get("refusal"))
    if not answer:
        return _ask_again(counted, message, EMPTY_REPLY)
    if state.finish:
        return _ask_again(counted, message, NOT_FINISHED)
    return msgspec.structs.replace(counted, conversation=(*counted.conversation, message), answer=answer, cut_replies=0)


def _ask_again(state: State, message: dict[str, Any], sentence: str) -> State:
    """A reply that cannot be used stays in the conversation without its calls, which never run."""
    kept = {key: value for key, value in message.items() if key != "tool_calls"}
    kept["content"] = kept.get("content") or PLACEHOLDER
    asked = {"role": "user", "content": sentence}
    return msgspec.structs.replace(
        state, conversation=(*state.conversation, kept, asked), cut_replies=state.cut_replies + 1
    )


def _answer_refused(state: State, event: AnswerRefused) -> State:
    sentence = f"Your answer cannot be used: {event.why}. Give the whole answer again, in the form that is asked for."
    return msgspec.structs.replace(
        state,
        conversation=(*state.conversation, {"role": "user", "content": sentence}),
        answer=None,
        refused_answers=state.refused_answers + 1,
    )


def _calls_asked(state: State, message: dict[str, Any], seq: int) -> State:
    calls: list[Call] = []
    sent: list[dict[str, Any]] = []
    taken = set(state.provider_ids)
    # One record may hold several replies.
    before = state.numbered[1] if state.numbered[0] == seq else 0
    for index, asked in enumerate(message["tool_calls"]):
        provider_id = _unused(asked.get("id"), taken=taken, instead=f"call_{state.step}_{index}")
        taken.add(provider_id)
        function = asked["function"]
        arguments, problem = _arguments(function.get("arguments"))
        call = Call(id=f"{seq}.{before + index}", provider_id=provider_id, tool=function["name"], arguments=arguments)
        calls.append(msgspec.structs.replace(call, problem=problem))
        sent.append({**asked, "id": provider_id, "type": "function", "function": {**function, "arguments": arguments}})
    said = (*state.conversation, {**message, "tool_calls": sent})
    answer = None
    if state.finish:
        calls = [_finishing(call, alone=len(calls) == 1) for call in calls]
        if (answer := _given(calls[0])) is not None:
            said = (*said, {"role": "tool", "tool_call_id": calls[0].provider_id, "content": FINISHED})
    return msgspec.structs.replace(
        state,
        conversation=said,
        answer=answer,
        calls=tuple(calls) if answer is None else (),
        numbered=(seq, before + len(calls)),
        provider_ids=frozenset(taken),
        cut_replies=0,
    )


def _finishing(call: Call, *, alone: bool) -> Call:
    """The call, with what is wrong with it if it is one that finishes."""
    if call.tool != FINISH_TOOL or call.problem is not None:
        return call
    if not alone:
        return msgspec.structs.replace(call, problem=FINISHED_EARLY)
    if msgspec.json.decode(call.arguments).get("answer") in (None, ""):
        return msgspec.structs.replace(call, problem=FINISHED_WITHOUT)
    return call


def _given(call: Call) -> str | None:
    """The answer, if this call gives it; a value that is no text, as JSON."""
    if call.tool != FINISH_TOOL or call.problem is not None:
        return None
    answer = msgspec.json.decode(call.arguments)["answer"]
    return answer if isinstance(answer, str) else msgspec.json.encode(answer).decode()


def _unused(provider_id: object, *, taken: set[str], instead: str) -> str:
    """The provider's id if it can serve as one, else ours; the same for every replay."""
    chosen = provider_id if isinstance(provider_id, str) and provider_id else instead
    if chosen in taken:
        chosen = instead
    while chosen in taken:
        chosen += "_"
    return chosen


def _arguments(received: object) -> tuple[str, str | None]:
    """The arguments as a JSON object to run and to send back, and what is wrong with those received.

    Some endpoints parse the arguments in a conversation and refuse the whole request for a broken one, so that what the
    model got wrong goes into the call's result instead.
    """
    if received is None or received == "":
        return "{}", None
    if isinstance(received, dict):
        return msgspec.json.encode(received).decode(), None
    wrong = _wrong_with(str(received))
    return ("{}", f"{wrong}: {str(received)[:200]}") if wrong else (str(received), None)


def _wrong_with(arguments: str) -> str | None:
    try:
        value = msgspec.json.decode(arguments)
        too_deep = is_deeper(value, than=MAX_DEPTH)
    except (msgspec.DecodeError, UnicodeError) as error:
        return f"the arguments are not JSON ({error})"
    except RecursionError:
        too_deep = True
    if too_deep:
        return "the arguments are nested too deep"
    return None if isinstance(value, dict) else "the arguments must be a JSON object"


def is_deeper(value: object, *, than: int) -> bool:
    """Whether a JSON value has more than that many arrays and objects inside one another."""
    level: list[object] = [value]
    for _ in range(than + 1):
        nested = [one for one in level if isinstance(one, dict | list)]
        if not nested:
            return False
        level = [child for one in nested for child in (one.values() if isinstance(one, dict) else one)]
    return True
