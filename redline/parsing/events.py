"""What a parser finds in the text of a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of the answer itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thought before it answered."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call of a tool begins. `index` counts the calls of an answer; `id` is there if the model gave one."""

    index: int
    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the arguments of call `index`, as the model wrote them: JSON, once all pieces are joined."""

    index: int
    text: str


Event = Content | Reasoning | CallStart | CallArguments


def join_neighbours(events: list[Event]) -> list[Event]:
    """The same events, with pieces of one text that follow each other as one piece."""
    if len(events) < 2:
        return events
    joined: list[Event] = []
    run: list[Event] = []
    for event in events:
        if run and _key(event) != _key(run[0]):
            joined.append(_one(run))
            run = []
        run.append(event)
    return [*joined, _one(run)] if run else joined


def _key(event: Event) -> object:
    """Equal for pieces of one text; a start is joined with nothing."""
    match event:
        case CallStart():
            return id(event)
        case CallArguments():
            return event.index
        case _:
            return type(event)


def _one(run: list[Event]) -> Event:
    match run[0]:
        case CallStart() as start:
            return start
        case CallArguments(index=index):
            return CallArguments(
                index, "".join(event.text for event in run if isinstance(event, CallArguments))
            )
        case Content():
            return Content("".join(event.text for event in run if isinstance(event, Content)))
        case Reasoning():
            return Reasoning("".join(event.text for event in run if isinstance(event, Reasoning)))
