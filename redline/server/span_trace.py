"""SpanTrace: the spans of one request.

Attributes are those of OpenTelemetry's conventions for generative AI as far as there are any, vLLM's
`gen_ai.latency.*`, and our own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.types import Scope

from redline.server.request_record import RequestRecord, RequestTrace

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer
    from opentelemetry.util.types import AttributeValue

    from redline.engine.outputs import RequestMetrics
    from redline.server.job import Job

MAX_HEADER = 512  # characters of a trace header; longer ones are ignored
CLIENT_LEFT = "client_disconnected"


class SpanTrace(RequestTrace):
    """Gathers what happens to one request, and makes its spans at the end."""

    def __init__(self, tracer: Tracer, operation: str, scope: Scope) -> None:
        self._tracer = tracer
        self._operation = operation
        self._scope = scope
        self._begin_ns = time.time_ns()
        self._offset_ns = self._begin_ns - time.perf_counter_ns()  # from the engine's clock to that of spans
        self._attributes: dict[str, AttributeValue] = {}
        self._finish_reasons: list[str] = []
        self._metrics: list[RequestMetrics] = []

    def asked(self, job: Job, *, stream: bool) -> None:
        params = job.params
        self._attributes = {
            "gen_ai.response.id": job.id,
            "gen_ai.request.stream": stream,
            "gen_ai.request.temperature": params.temperature,
            "gen_ai.request.top_p": params.top_p,
            "gen_ai.request.top_k": params.top_k,
            "gen_ai.request.frequency_penalty": params.frequency_penalty,
            "gen_ai.request.presence_penalty": params.presence_penalty,
            "gen_ai.request.choice.count": params.n,
        }
        if params.max_tokens is not None:
            self._attributes["gen_ai.request.max_tokens"] = params.max_tokens
        if params.seed is not None:
            self._attributes["gen_ai.request.seed"] = params.seed

    def finished(self, reason: str) -> None:
        self._finish_reasons.append(reason)

    def measured(self, metrics: RequestMetrics) -> None:
        self._metrics.append(metrics)

    def end(self, record: RequestRecord) -> None:
        from opentelemetry import trace

        span = self._tracer.start_span(
            " ".join([self._operation, *([record.model] if record.model else [])]),
            context=self._parent(),
            kind=trace.SpanKind.SERVER,
            attributes=self._attributes | self._outcome(record),
            start_time=self._begin_ns,
        )
        if record.status == 0 or record.status >= 500:  # by the conventions, a 4xx is the client's error
            span.set_status(trace.StatusCode.ERROR)
        within = trace.set_span_in_context(span)
        for number, metrics in enumerate(self._metrics):
            self._phases(within, number, metrics)
        span.end()

    def _parent(self) -> Context:
        """Of the client's headers, if they are what W3C Trace Context says; else nothing."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        wanted = (b"traceparent", b"tracestate")
        pairs = [(name, value) for name, value in self._scope["headers"] if name in wanted]
        carrier = {
            name.decode(): value.decode("latin-1") for name, value in pairs if len(value) <= MAX_HEADER
        }
        return TraceContextTextMapPropagator().extract(carrier if len(carrier) == len(pairs) else {})

    def _outcome(self, record: RequestRecord) -> dict[str, AttributeValue]:
        known: dict[str, AttributeValue | None] = {
            "gen_ai.operation.name": self._operation,
            "gen_ai.provider.name": "redline",
            "gen_ai.request.model": record.model,
            "gen_ai.response.model": record.model,
            "gen_ai.response.finish_reasons": self._finish_reasons or None,
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.output_tokens": record.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
            "gen_ai.latency.time_in_queue": record.queue_s,
            "gen_ai.latency.time_to_first_token": record.ttft_s,
            "gen_ai.latency.e2e": record.duration_s,
            "http.route": self._scope["path"],  # one of OPERATIONS
            "http.response.status_code": record.status or None,
            "redline.request_id": record.id,
        }
        if record.status == 0:
            known["error.type"] = CLIENT_LEFT
        elif record.status >= 400:
            known["error.type"] = str(record.status)
        return {name: value for name, value in known.items() if value is not None}

    def _phases(self, within: Context, number: int, metrics: RequestMetrics) -> None:
        """The spans of one prompt. Times count from its arrival."""
        first_s, end_s, prompt = metrics.ttft_s, metrics.e2e_s, {"redline.prompt": number}
        tokens = {
            "redline.prompt_tokens": metrics.num_prompt_tokens,
            "redline.cached_tokens": metrics.num_cached_tokens,
        }
        drafts = {
            "redline.output_tokens": metrics.num_output_tokens,
            "redline.draft_tokens": metrics.num_draft_tokens,
            "redline.accepted_tokens": metrics.num_accepted_tokens,
        }
        phases = [
            ("queue", 0.0, metrics.queue_s, prompt),
            ("prefill", metrics.queue_s, first_s, prompt | tokens),
            *[("preempted", since_s, until_s, prompt) for since_s, until_s in metrics.preempted_s],
        ]
        if metrics.num_output_tokens > 1:
            phases.append(("decode", first_s, end_s, prompt | drafts))
        for name, since_s, until_s, attributes in phases:
            start_ns, end_ns = (self._wall_ns(metrics.arrival_s + each) for each in (since_s, until_s))
            span = self._tracer.start_span(name, context=within, attributes=attributes, start_time=start_ns)
            span.end(end_time=end_ns)

    def _wall_ns(self, engine_s: float) -> int:
        return round(engine_s * 1e9) + self._offset_ns
