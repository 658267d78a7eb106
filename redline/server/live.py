"""`GET /v1/redline/live`: what the engine is doing, once or as a stream; the built-in page draws it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from redline.protocol.sse import encode_event
from redline.server.authentication import ANYONE, caller_of
from redline.server.errors import HTTPError, too_many
from redline.server.latest import LatestRequests
from redline.server.service import Service

if TYPE_CHECKING:
    from redline.engine.snapshot import Decision, RequestState, Snapshot

View = dict[str, Any]
EVERY_S = 0.5  # an event, if anything has changed
BEAT_S = 15.0  # an empty comment, if nothing has: else a proxy takes the connection for dead
MAX_STREAMS = 32  # each costs a little twice a second
MAX_REQUESTS = 200  # that are listed
MAX_DECISIONS = 100
SHORT_ID = 8  # characters of an id: enough to tell requests apart, too few to ask for one by it
STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class LiveEndpoint:
    """Numbers of requests, never what they say.

    Where there are keys, a caller sees the requests of its own name, and of others what /metrics tells too:
    how many there are, how long they take, what steps are made of. Ids are cut short.
    """

    def __init__(self, find: Callable[[str | None], Service]) -> None:
        """`find` gives what serves the model of a name, or the one there is; it raises HTTPError."""
        self._find = find
        self._num_streams = 0

    async def get(self, request: Request) -> Response:
        """A snapshot, or with `stream=true` one twice a second, each with what is new since the last one."""
        caller = caller_of(request.scope)
        tenant = None if caller is ANYONE else caller.name
        look = partial(self._look, request.query_params.get("model"), tenant)
        wanted = request.query_params.get("stream", "false")
        if wanted not in ("true", "false"):
            raise HTTPError(400, f"stream is {wanted[:40]!r}; it must be true or false", param="stream")
        if wanted == "false":
            return Response(_json(look()), media_type="application/json")
        if self._num_streams >= MAX_STREAMS:
            raise too_many(f"{MAX_STREAMS} live views are open already", "too_many_requests", 5)
        look()  # what is wrong with the request is said with a status
        return StreamingResponse(self._stream(look), media_type="text/event-stream", headers=STREAM_HEADERS)

    async def _stream(self, look: Callable[[int], View]) -> AsyncIterator[bytes]:
        self._num_streams += 1
        try:
            seen, next_event, sent_s = None, 0, time.monotonic()
            while True:
                view = look(next_event)
                state = (view["next_event"], view["status"], view["counts"], view["num_ended"])
                if state != seen:
                    seen, next_event, sent_s = state, view["next_event"], time.monotonic()
                    yield encode_event(_json(view))
                elif time.monotonic() - sent_s >= BEAT_S:
                    sent_s = time.monotonic()
                    yield b":\n\n"
                if view["status"] == "shutting_down":
                    return
                await asyncio.sleep(EVERY_S)
        except HTTPError as error:  # the model has been unloaded
            yield encode_event(error.body.to_json())
        finally:
            self._num_streams -= 1

    def _look(self, model: str | None, tenant: str | None, since: int = 0) -> View:
        service = self._find(model)
        engine, latest = service.engine, service.latest
        seen = engine.snapshot(since)
        requests = [each for each in seen.requests if tenant is None or each.tenant == tenant]
        decisions = [each for each in seen.decisions if _may_see(each, tenant, latest)]
        problem = service.readiness.problem()
        return {
            "object": "redline.live",
            "model": engine.model_name,
            "status": "ok" if problem is None else problem.body.error.code,
            "time_s": seen.time_s,
            "next_event": seen.next_event,
            "counts": _counts(seen),
            "num_ended": latest.num_ended,
            "requests": [_request(each) for each in requests[:MAX_REQUESTS]],
            "num_others": len(seen.requests) - len(requests),
            "steps": seen.steps,
            "drafts": seen.drafts,
            "decisions": [_decision(each) for each in decisions[-MAX_DECISIONS:]],
            "latency": latest.distributions(),
            "cache": [asdict(pool) for pool in seen.pools],
        }


def _may_see(decision: Decision, tenant: str | None, latest: LatestRequests) -> bool:
    if tenant is None or not decision.request_id:
        return True
    return latest.owner(_job_id(decision.request_id)) == tenant


def _counts(seen: Snapshot) -> dict[str, Any]:
    """Gauges, and counters since the start."""
    stats = seen.stats
    return {
        "running": stats.running,
        "waiting": stats.waiting,
        "max_batch": seen.max_batch,
        "preempted": sum(each.state == "preempted" for each in seen.requests),
        "preemptions": stats.num_preemptions,
        "kv_usage": round(stats.kv_usage, 4),
        "prompt_tokens": stats.prompt_tokens,
        "generation_tokens": stats.generation_tokens,
        "prefix_queries": stats.prefix_queries,
        "prefix_hits": stats.prefix_hits,
        "evictions": stats.prefix_evictions,
        "draft_tokens": stats.draft_tokens,
        "accepted_tokens": stats.accepted_tokens,
        "steps": stats.num_steps,
        "arrived": stats.requests.arrived,
        "finished": stats.requests.finished,
        "aborted": stats.requests.aborted,
        "refused": stats.requests.refused,
    }


def _request(each: RequestState) -> dict[str, Any]:
    shown = asdict(each)
    del shown["tenant"]
    shown["request_id"] = _short(each.request_id)
    return shown


def _decision(each: Decision) -> dict[str, Any]:
    return {**asdict(each), "request_id": _short(each.request_id)}


def _job_id(request_id: str) -> str:
    """The engine's id has the owner before it and the number of the prompt behind it: Job.engine_id."""
    return request_id.rpartition("/")[2].rpartition("-")[0]


def _short(request_id: str) -> str:
    """A few characters of the random part."""
    return _job_id(request_id).replace("_", "-").rpartition("-")[2][:SHORT_ID]


def _json(view: View) -> str:
    return json.dumps(view, separators=(",", ":"), allow_nan=False)
