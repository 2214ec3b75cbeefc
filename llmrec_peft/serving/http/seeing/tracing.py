"""Tracing: a span a request and its parts for OpenTelemetry, behind the extra ``tracing``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from llmrec_peft.errors import InputError
from llmrec_peft.identity import __version__
from llmrec_peft.printable import one_line, quoted
from llmrec_peft.serving.http.seeing.trail import Trail

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

EXPORT_S = 5.0
"""Seconds that one batch of spans may take to be sent."""
_SERVER_ERROR = 500


class Tracing:
    """Makes spans of requests that were answered, from the times that their trails hold.

    A span has the route, the status, the tenant, the lane, and digest and state of the version; no ids of users, no
    texts. Spans of `queue` and `engine` lie in it. A caller's ``traceparent`` (W3C Trace Context) is taken over.
    Without a `Tracing`, requests cost nothing more.
    """

    def __init__(self, provider: TracerProvider) -> None:
        """Make spans through a provider."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("llmrec_peft.serving.http", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def to(cls, otlp: str) -> Self:
        """Send spans by OTLP over HTTP, in batches, from a thread.

        Args:
            otlp: Where to, such as ``http://127.0.0.1:4318/v1/traces``.

        Raises:
            InputError: If the extra is not installed, or this is no address.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            missing = one_line(error)
            raise InputError(f'otlp needs OpenTelemetry ({missing}): pip install "llmrec-peft[tracing]"') from None
        if not otlp.startswith(("http://", "https://")):
            raise InputError(f"otlp: {quoted(otlp)} is no address such as http://127.0.0.1:4318/v1/traces")
        resource = Resource.create({"service.name": "llmrec-peft", "service.version": __version__})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp, timeout=EXPORT_S)))
        return cls(provider)

    def request(
        self,
        method: str,
        route: str,
        status: int,
        trail: Trail,
        headers: Mapping[str, str],
        began: int,
        ended: int,
    ) -> str:
        """Make the span of a request that was answered.

        Args:
            method: HTTP method.
            route: Template of its path.
            status: HTTP status of the answer.
            trail: What became known of it.
            headers: Its headers, of which ``traceparent`` and ``tracestate`` are read.
            began: When it came, nanoseconds since 1970.
            ended: When it was answered.

        Returns:
            The trace's id, 32 hexadecimal digits.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context

        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
        }
        if trail.tenant is not None:
            attributes["llmrec.tenant"] = trail.tenant
        if trail.identity is not None:
            attributes["llmrec.version"] = trail.identity.version
            attributes["llmrec.state"] = trail.identity.state
            attributes["llmrec.state_digest"] = trail.identity.state_digest
        parent = self._propagator.extract(headers)
        span = self._tracer.start_span(
            f"{method} {route}", parent, SpanKind.SERVER, attributes=attributes, start_time=began
        )
        if status >= _SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(span)
        for step in trail.steps:
            lane = {"llmrec.lane": step.lane}
            part = self._tracer.start_span(step.name, inside, attributes=lane, start_time=step.began)
            part.end(step.ended)
        span.end(ended)
        return format_trace_id(span.get_span_context().trace_id)

    def close(self) -> None:
        """Send what was not sent yet, for some seconds at most, and end."""
        self._provider.force_flush(round(EXPORT_S * 1000))
        self._provider.shutdown()
