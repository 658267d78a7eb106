"""Tracing: a trace for each request, by OpenTelemetry; off is NullTracing, which imports nothing of it.

A request is one span, `chat smollm2`, a child of the client's span if `traceparent` names one, and below it
for each prompt `queue`, `prefill` and `decode`, and `preempted` for every time that it had to wait again.
No span holds a prompt, an answer, a stop string or a key. Spans are made when a request is over, and sent by
a thread of the exporter: a collector that cannot be reached costs no request anything.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Protocol

from starlette.types import Scope

from redline import env
from redline.errors import ConfigError
from redline.server.request_record import NO_TRACE, RequestTrace
from redline.server.span_trace import SpanTrace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger("redline.server")

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
ENDPOINT_PATH = "/v1/traces"  # where collectors take them, when the endpoint names no path
PROTOCOLS = ("http/protobuf", "grpc")
CLOSE_S = 2.0  # that the latest spans have to get away at the end


class Tracing(Protocol):
    """What the server asks of it."""

    def start(self, scope: Scope) -> RequestTrace:
        """A request has come."""

    def close(self) -> None:
        """Send what is left, within CLOSE_S."""


class NullTracing:
    """Off."""

    def start(self, scope: Scope) -> RequestTrace:
        return NO_TRACE

    def close(self) -> None:
        pass


class OpenTelemetry:
    """Sends spans to a collector. The SDK reads the other OTEL_ variables: sampling, resource, batches."""

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = {} if env.otel_service_name() else {SERVICE_NAME: "redline"}
        # At exit it would wait for the collector as long as a request to that may take.
        self._provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("redline")

    def start(self, scope: Scope) -> RequestTrace:
        operation = OPERATIONS.get(scope["path"])
        return NO_TRACE if operation is None else SpanTrace(self._tracer, operation, scope)

    def close(self) -> None:
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        if closing.is_alive():
            logger.warning("the collector of traces does not answer; the latest spans are lost")


def open_tracing(endpoint: str | None) -> Tracing:
    """Tracing to an endpoint, to that of the OTEL_ variables where it is None, or none at all.

    Raises ConfigError when the endpoint or the protocol cannot be used, or a library for them is missing.
    """
    if endpoint is None and (env.otel_disabled() or not env.otlp_endpoint_is_set()):
        return NullTracing()
    protocol = env.otlp_traces_protocol()
    if protocol not in PROTOCOLS:
        raise ConfigError(f"the OTLP protocol is {protocol[:40]!r}; it must be one of {', '.join(PROTOCOLS)}")
    try:
        return OpenTelemetry(_exporter(endpoint, protocol))
    except ImportError as error:
        package = "redline[otel]" if protocol == "http/protobuf" else "opentelemetry-exporter-otlp-proto-grpc"
        raise ConfigError(
            f"traces are asked for, and {error.name} is not installed; pip install '{package}', or leave out "
            "--otlp-traces-endpoint and the OTEL_EXPORTER_OTLP_ variables"
        ) from None


def _exporter(endpoint: str | None, protocol: str) -> SpanExporter:
    exporter: SpanExporter
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        exporter = Grpc(endpoint=endpoint)
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

        exporter = Http(endpoint=None if endpoint is None else _with_path(endpoint))
    return exporter


def _with_path(endpoint: str) -> str:
    """The URL of the collector's traces. Raises ConfigError when it is none."""
    scheme, found, rest = endpoint.partition("://")
    if scheme not in ("http", "https") or not found or not rest.strip("/"):
        raise ConfigError(
            f"the endpoint of traces is {endpoint[:200]!r}; it must be a URL such as "
            f"http://127.0.0.1:4318{ENDPOINT_PATH}"
        )
    return endpoint if rest.rstrip("/").count("/") else endpoint.rstrip("/") + ENDPOINT_PATH
