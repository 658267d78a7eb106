"""`GET /v1/redline/requests/{id}`: what happened to one request, and why, in words."""

from __future__ import annotations

from itertools import count, takewhile

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from redline.server.errors import HTTPError
from redline.server.service import Service


class ExplainEndpoint:
    """For the latest requests, running ones included, by the id that their answer carries."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def get(self, request: Request) -> Response:
        """The events of each prompt's choices; 404 for an id that is not, or no longer, known."""
        job_id = request.path_params["id"]
        explain = self._service.engine.explain
        found = (explain(f"{job_id}-{number}") for number in count())
        prompts = [{"choices": choices} for choices in takewhile(lambda choices: choices is not None, found)]
        if not prompts:
            raise HTTPError(
                404,
                f"request {job_id[:100]!r} is not among the latest; give the id of an answer",
                param="id",
                code="request_not_found",
            )
        return JSONResponse({"id": job_id, "object": "redline.request", "prompts": prompts})
