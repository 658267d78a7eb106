"""`GET /openapi.json`: this server described as OpenAPI 3.1.

All of it comes from what serves: the routes, the wire types, the words at the endpoints. Only what a route
answers stands in a table here, because an endpoint makes that itself.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from redline.protocol.anthropic_answers import Message, MessagesErrorBody, TokenCount
from redline.protocol.chat import ChatResponse, RenderedChat
from redline.protocol.completions import CompletionResponse
from redline.protocol.embeddings import EmbeddingResponse
from redline.protocol.errors import ErrorBody
from redline.protocol.models import ModelCard, ModelList
from redline.protocol.responses_answers import DeletedResponse, InputItems, InputTokenCount, ResponseObject
from redline.protocol.scoring import RerankResponse, ScoreResponse
from redline.protocol.tokenization import TOKEN_SPANS, Detokenized, Tokenized, TokenizedContent, TokenizerInfo
from redline.protocol.wire import RequestModel
from redline.server.config import ServerConfig
from redline.server.health import DEEP
from redline.server.stored_responses import DEFAULT_LIMIT, MAX_LIMIT

Schema = dict[str, Any]

JSON, EVENTS, TEXT, NOTHING = "application/json", "text/event-stream", "text/plain", ""
REF = "#/components/schemas/{model}"
PUBLIC = {"/health"}
KEYS: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
OBJECT: Schema = {"type": "object"}


class Answers(NamedTuple):
    """What comes with status 200: JSON of one of these types, or something of another media type."""

    types: Sequence[Any] = ()
    media_type: str = JSON
    streams: bool = False
    succeeds: bool = True  # False: there is never any


ANSWERS = {
    ("POST", "/v1/chat/completions"): Answers([ChatResponse], streams=True),
    ("POST", "/v1/completions"): Answers([CompletionResponse], streams=True),
    ("POST", "/v1/messages"): Answers([Message], streams=True),
    ("POST", "/v1/messages/count_tokens"): Answers([TokenCount]),
    ("POST", "/v1/responses"): Answers([ResponseObject], streams=True),
    ("GET", "/v1/responses/{id}"): Answers([ResponseObject]),
    ("DELETE", "/v1/responses/{id}"): Answers([DeletedResponse]),
    ("POST", "/v1/responses/input_tokens"): Answers([InputTokenCount]),
    ("GET", "/v1/responses/{id}/input_items"): Answers([InputItems]),
    ("POST", "/v1/responses/{id}/cancel"): Answers(succeeds=False),
    ("POST", "/v1/embeddings"): Answers([EmbeddingResponse]),
    **{("POST", path): Answers([ScoreResponse]) for path in ("/v1/score", "/score")},
    **{("POST", path): Answers([RerankResponse]) for path in ("/rerank", "/v1/rerank", "/v2/rerank")},
    ("GET", "/v1/models"): Answers([ModelList]),
    ("GET", "/v1/models/{name}"): Answers([ModelCard]),
    ("GET", "/v1/redline/requests/{id}"): Answers([OBJECT]),
    ("GET", "/v1/redline/live"): Answers([OBJECT], streams=True),
    ("POST", "/tokenize"): Answers([Tokenized, TokenizedContent, TOKEN_SPANS]),
    ("POST", "/detokenize"): Answers([Detokenized]),
    ("POST", "/apply-template"): Answers([RenderedChat]),
    ("GET", "/tokenizer_info"): Answers([TokenizerInfo]),
    ("GET", "/health"): Answers([OBJECT]),
    ("GET", "/ping"): Answers(media_type=NOTHING),
    ("POST", "/ping"): Answers(media_type=NOTHING),
    ("GET", "/version"): Answers([OBJECT]),
    ("GET", "/load"): Answers([OBJECT]),
    ("GET", "/metrics"): Answers(media_type=TEXT),
    ("GET", "/openapi.json"): Answers([OBJECT]),
}

# What may stand in the query.
QUERIES: dict[str, dict[str, Schema]] = {
    "/v1/responses/{id}/input_items": {
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        "order": {"enum": ["asc", "desc"], "default": "desc"},
        "after": {"type": "string"},
    },
    "/v1/redline/live": {"stream": {"type": "boolean", "default": False}, "model": {"type": "string"}},
    "/health": {"deep": {"enum": list(DEEP), "default": "0"}},
}


class OpenAPIEndpoint:
    """Describes `routes`, those that are added later included."""

    def __init__(self, routes: Sequence[BaseRoute], config: ServerConfig) -> None:
        self._routes = routes
        self._keyed = bool(config.api_keys) or config.api_keys_file is not None
        self._public = PUBLIC | ({"/metrics"} if config.public_metrics else set())

    async def get(self, request: Request) -> Response:
        """This description."""
        return JSONResponse(self.document)

    @cached_property
    def document(self) -> Schema:
        """The whole description."""
        operations = list(_operations(self._routes))
        schemas = _Schemas(operations)
        paths: dict[str, Schema] = {}
        for operation in operations:
            described = operation.described(schemas)
            if self._keyed and operation.path not in self._public:
                described["security"] = [{name: []} for name in KEYS]
            paths.setdefault(operation.path, {})[operation.method.lower()] = described
        components: Schema = {"schemas": schemas.definitions}
        if self._keyed:
            components["securitySchemes"] = KEYS
        info = {"title": "Redline", "version": version("redline")}
        return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}


class Operation:
    """One method of one route."""

    def __init__(self, route: Route, method: str) -> None:
        self.method = method
        self.path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        self.request_type = body_type_of(route.endpoint)
        self.answers = ANSWERS.get((method, self.path), Answers([{}]))
        self.error_type = MessagesErrorBody if self.path.startswith("/v1/messages") else ErrorBody
        self._words = inspect.getdoc(route.endpoint) or ""

    @property
    def types(self) -> Iterator[Any]:
        """All types it speaks of."""
        yield self.error_type
        if self.request_type is not None:
            yield self.request_type
        yield from self.answers.types

    def described(self, schemas: _Schemas) -> Schema:
        """As OpenAPI has it."""
        described: Schema = {
            "operationId": re.sub(r"\W+", "_", f"{self.method.lower()}{self.path}").rstrip("_"),
            "description": self._words,
            "responses": {"default": self._failure(schemas)},
        }
        if self.answers.succeeds:
            described["responses"]["200"] = self._success(schemas)
        if parameters := list(self._parameters()):
            described["parameters"] = parameters
        if self.request_type is not None:
            content = {JSON: {"schema": schemas.of(self.request_type)}}
            described["requestBody"] = {"required": True, "content": content}
        return described

    def _parameters(self) -> Iterator[Schema]:
        text = {"type": "string", "minLength": 1}
        for name in re.findall(r"\{(\w+)\}", self.path):
            yield {"name": name, "in": "path", "required": True, "schema": text}
        for name, schema in QUERIES.get(self.path, {}).items():
            yield {"name": name, "in": "query", "schema": schema}

    def _success(self, schemas: _Schemas) -> Schema:
        if self.answers.media_type == NOTHING:
            return {"description": "Yes."}
        each = [schemas.of(type_) for type_ in self.answers.types]
        schema = {"anyOf": each} if len(each) > 1 else each[0] if each else {"type": "string"}
        content: Schema = {self.answers.media_type: {"schema": schema}}
        if self.answers.streams:
            content[EVENTS] = {}
        return {"description": "The answer.", "content": content}

    def _failure(self, schemas: _Schemas) -> Schema:
        content = {JSON: {"schema": schemas.of(self.error_type)}}
        return {"description": "What is wrong, and with which field.", "content": content}


class _Schemas:
    """The schemas of all types, each once."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        mode: JsonSchemaMode = "validation"
        types = [type_ for each in operations for type_ in each.types if not isinstance(type_, dict)]
        known = {id(type_): type_ for type_ in types}
        generator = GenerateJsonSchema(ref_template=REF)
        inputs = [(key, mode, _core_schema(type_)) for key, type_ in known.items()]
        found, self.definitions = generator.generate_definitions(inputs)
        self._schemas = {key: schema for (key, _), schema in found.items()}

    def of(self, type_: Any) -> Schema:
        """The schema of a type; a schema is one already."""
        return type_ if isinstance(type_, dict) else self._schemas[id(type_)]


def _operations(routes: Iterable[BaseRoute]) -> Iterator[Operation]:
    for route in routes:
        if isinstance(route, Route) and route.include_in_schema:
            for method in sorted((route.methods or set()) - {"HEAD"}):
                yield Operation(route, method)


def body_type_of(endpoint: Any) -> type[RequestModel] | None:
    """What clients send to an endpoint; None: nothing."""
    return getattr(endpoint, "body_type", None) or getattr(endpoint, "request_type", None)


def _core_schema(type_: Any) -> Any:
    return TypeAdapter(type_).core_schema if isinstance(type_, type) else type_.core_schema
