"""Traces are off unless a collector is named; then a span tells the route's template and never what was asked."""

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from api.tracing import start_tracing
from core.settings import Settings
from tests import servers
from tests.api.web import test_gate


class Route:
    path = "/api/v1/copies/{copy_id}"


async def app(scope, receive, send):
    scope["route"] = Route
    await test_gate.echo(scope, receive, send)


def test_nothing_is_traced_unless_asked(tmp_path):
    assert start_tracing(Settings(home=tmp_path), "web") is None


async def test_a_span_names_the_template_and_not_the_paper(tmp_path, clock):
    heard = []
    with servers.http(lambda *_: (200, {}, b""), heard=heard) as port:
        provider = start_tracing(Settings(home=tmp_path, traces_url=f"http://127.0.0.1:{port}/v1/traces"), "web")
        kept = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(kept))
        door = test_gate.gate(clock, app)
        door._traces = True
        await test_gate.ask(door, path="/api/v1/copies/01m89vyjen3se3dd1x7tbpvqvh")
        await test_gate.ask(test_gate.gate(clock, app))
        provider.shutdown()
    (span,) = kept.get_finished_spans()
    assert span.name == "GET /api/v1/copies/{copy_id}"
    assert span.attributes == {"http.response.status_code": 200}
    assert "01m89" not in span.to_json()
    assert heard  # the collector was told
