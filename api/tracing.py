"""Traces for operators (OpenTelemetry), off unless a collector is named. A span tells route templates, never a code or id."""

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from core.settings import Settings

__all__ = ["start_tracing"]


def start_tracing(settings: Settings, role: str) -> TracerProvider | None:
    """Once a process; the caller shuts it down at the end, so that the last spans leave."""
    if not settings.traces_url:
        return None
    provider = TracerProvider(resource=Resource({"service.name": f"dauso-{role}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.traces_url, timeout=5)))
    trace.set_tracer_provider(provider)
    return provider
