"""`/v1/responses/{id}`: what can be done with the responses that are kept."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from redline.protocol.responses_answers import DeletedResponse, InputItems
from redline.server.authentication import caller_of
from redline.server.errors import HTTPError
from redline.server.response_store import ResponseStore, StoredResponse

DEFAULT_LIMIT, MAX_LIMIT = 20, 100


class StoredResponses:
    """They are there for their owner alone."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def one(self, request: Request) -> Response:
        """GET: the response as it was sent. DELETE: forget it. 404 when it is not kept."""
        stored = self._stored(request)
        _check_query(request, ())
        body = stored.response
        if request.method == "DELETE":
            response_id = request.path_params["id"]
            self._store.delete(caller_of(request.scope).name, response_id)
            body = DeletedResponse(id=response_id).to_json()
        return Response(body, media_type="application/json")

    async def input_items(self, request: Request) -> Response:
        """GET: what its request brought, a page at a time, the last item first unless `order` is asc."""
        items = list(self._stored(request).items)
        _check_query(request, ("limit", "order", "after"))
        order = request.query_params.get("order", "desc")
        if order not in ("asc", "desc"):
            raise _bad("order", order, "it must be asc or desc")
        if order == "desc":
            items.reverse()
        page, has_more = _page(items, _limit(request), request.query_params.get("after"))
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        listed = InputItems(data=page, first_id=first, last_id=last, has_more=has_more)
        return Response(listed.to_json(), media_type="application/json")

    async def cancel(self, request: Request) -> Response:
        """POST: only what runs in the background could be cancelled, and nothing does."""
        status = json.loads(self._stored(request).response)["status"]
        raise HTTPError(
            400,
            f"the response is {status}: only one that was asked for with background could be cancelled, and "
            "this server has none of those. To end one that is being sent, close its connection",
            param="id",
            code="not_cancellable",
        )

    def _stored(self, request: Request) -> StoredResponse:
        response_id = request.path_params["id"]
        stored = self._store.get(caller_of(request.scope).name, response_id)
        if stored is None:
            message = f"response {response_id[:100]!r} is not kept here (any more)"
            raise HTTPError(404, message, param="id", code="response_not_found")
        return stored


def _check_query(request: Request, accepted: tuple[str, ...]) -> None:
    """Refuse what would change the answer elsewhere; names that nobody defines are ignored."""
    for name in ("include", "include[]", "stream", "starting_after", "before", "limit", "order", "after"):
        value = request.query_params.get(name)
        if value is not None and name not in accepted and value != "false":
            raise _bad(name, value, "this server does not implement it here; leave it out")


def _limit(request: Request) -> int:
    value = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (value.isascii() and value.isdigit() and len(value) < 9 and 1 <= int(value) <= MAX_LIMIT):
        raise _bad("limit", value, f"it must be an integer between 1 and {MAX_LIMIT}")
    return int(value)


def _page(items: list[dict[str, Any]], limit: int, after: str | None) -> tuple[list[dict[str, Any]], bool]:
    """Up to `limit` items behind the one with the id `after`, and whether there are more."""
    start = 0
    if after is not None:
        place = next((place for place, item in enumerate(items) if item["id"] == after), None)
        if place is None:
            raise _bad("after", after, "it must be the id of an item")
        start = place + 1
    return items[start : start + limit], start + limit < len(items)


def _bad(name: str, value: str, advice: str) -> HTTPError:
    return HTTPError(400, f"{name} is {value[:60]!r}; {advice}", param=name)
