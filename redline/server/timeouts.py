"""start_timeouts: how long a request may wait for its first token, and for its last."""

from __future__ import annotations

from redline.server.config import ServerConfig
from redline.server.errors import HTTPError
from redline.server.request_record import RequestRecord
from redline.server.running import Running
from redline.server.waiting import Place


def start_timeouts(running: Running, place: Place, record: RequestRecord, config: ServerConfig) -> None:
    """End the request with 504 when it takes too long, counted from its arrival.

    Of a request with several prompts, the first token of any of them ends the wait in the queue.
    """
    if config.request_timeout_s is not None:
        error = _too_slow(f"the answer took longer than {config.request_timeout_s} s", "request_timeout")
        running.end_after(config.request_timeout_s - record.elapsed_s(), error)
    if config.queue_timeout_s is not None:
        error = _too_slow(f"no token came within {config.queue_timeout_s} s", "queue_timeout")
        place.late = running.end_after(config.queue_timeout_s - record.elapsed_s(), error)


def _too_slow(reason: str, code: str) -> HTTPError:
    return HTTPError(504, f"{reason}, which is the limit of this server", code=code)
