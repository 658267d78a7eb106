"""Workload: what is asked, in which order, and how long the answers shall be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

Message = dict[str, str]  # role and content


@dataclass(frozen=True, slots=True)
class Request:
    """One question. `output_tokens`: how long an answer is asked for."""

    messages: tuple[Message, ...]
    output_tokens: int

    @property
    def prompt(self) -> str:
        """The conversation as plain text, for engines and routes that know no chat."""
        return "\n\n".join(message["content"] for message in self.messages)


Session = tuple[Request, ...]  # turns: each is sent when the one before it has been answered


@dataclass(frozen=True)
class Workload:
    """Sessions of requests; most have one turn.

    `arrivals_s`: when each session starts, in seconds from the first; None: whoever runs it decides.
    """

    name: str
    summary: str
    sessions: tuple[Session, ...]
    arrivals_s: tuple[float, ...] | None = None

    @property
    def requests(self) -> list[Request]:
        """All of them, session by session."""
        return [request for session in self.sessions for request in session]

    @property
    def prompts(self) -> list[str]:
        """The requests as plain text."""
        return [request.prompt for request in self.requests]

    def rounds(self) -> list[list[Request]]:
        """The first turns of all sessions, then the second ones, and so on."""
        turns = max(len(session) for session in self.sessions)
        return [[session[turn] for session in self.sessions if turn < len(session)] for turn in range(turns)]

    @cached_property
    def digest(self) -> str:
        """Equal for equal requests: the text comes from the running Python and differs between versions."""
        said = [[[*request.messages, request.output_tokens] for request in each] for each in self.sessions]
        return hashlib.sha256(json.dumps([said, self.arrivals_s]).encode()).hexdigest()[:16]
