"""`GET /v1/redline/requests/{id}`: what happened to one request, and why, in words."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, takewhile

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from redline.server.authentication import caller_of
from redline.server.errors import HTTPError
from redline.server.job import engine_id
from redline.server.standing import tenant_of


class ExplainEndpoint:
    """For the latest requests, running ones included, by the id that their answer carries.

    Others than the holder of the key that asked find nothing: when a request waited, and for whom, is theirs.
    """

    def __init__(self, explain: Callable[[str], list[list[str]] | None]) -> None:
        self._explain = explain

    async def get(self, request: Request) -> Response:
        """The events of each prompt's choices; 404 for an id that is not, or no longer, known."""
        job_id, tenant = request.path_params["id"], tenant_of(caller_of(request.scope))
        found = (self._explain(engine_id(tenant, job_id, number)) for number in count())
        prompts = [{"choices": choices} for choices in takewhile(lambda choices: choices is not None, found)]
        if not prompts:
            raise HTTPError(
                404,
                f"request {job_id[:100]!r} is not among the latest; give the id of an answer",
                param="id",
                code="request_not_found",
            )
        return JSONResponse({"id": job_id, "object": "redline.request", "prompts": prompts})
