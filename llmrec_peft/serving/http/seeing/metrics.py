"""Metrics: what the server counts for Prometheus, with few series, and figures of the last minutes for its page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from llmrec_peft.serving.http.seeing.busiest import Busiest
from llmrec_peft.serving.http.seeing.recent import Recent, RecentRequests
from llmrec_peft.serving.http.seeing.scraped import Scraped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmrec_peft.serving.http.lanes.lines import QueueFigures
    from llmrec_peft.serving.result_cache import Cached
    from llmrec_peft.serving.tiers.memory import Memory

CONTENT_TYPE = CONTENT_TYPE_LATEST
ASKING = ("/v1/recommend", "/v1/score", "/v1/explain", "/v1/items", "/page/tenants/{tenant}/try")
"""Routes whose requests are figures of the page: machines that look after the server and the page itself are none."""
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts requests, waits and changes; its own registry, so that two servers in a process do not mix.

    Labels are bounded: routes are those of the application, and of tenants the busiest have names (`Busiest`). Whoever
    counts passes the names of registered tenants only.
    """

    content_type = CONTENT_TYPE

    def __init__(self, named_tenants: int = 20, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing counted.

        Args:
            named_tenants: Tenants that have labels of their own.
            clock: Seconds.
        """
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._busiest = Busiest(named_tenants, self._remove, clock)
        self._recent = RecentRequests(clock)
        self._outcomes: dict[str, set[tuple[str, str]]] = {}
        registry = self._registry
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "llmrec_requests", "Requests that were answered.", ["route", "status", "tenant"], registry=registry
        )
        self._seconds = Histogram(
            "llmrec_request_seconds", "Seconds until the answer.", ["route"], buckets=BUCKETS, registry=registry
        )
        self._tenant_seconds = Histogram(
            "llmrec_tenant_request_seconds",
            "Seconds until the answer, by tenant.",
            ["tenant"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._waited = Histogram(
            "llmrec_lane_waited_seconds", "Seconds in a queue.", ["lane"], buckets=BUCKETS, registry=registry
        )
        self._computed = Histogram(
            "llmrec_lane_computed_seconds", "Seconds of computing.", ["lane"], buckets=BUCKETS, registry=registry
        )
        self._refused = Counter(
            "llmrec_refused", "Requests that were refused, by the error's code.", ["code"], registry=registry
        )
        self._changes = Counter(
            "llmrec_changes", "Changes of tenants: swaps, rollbacks and the like.", ["kind"], registry=registry
        )

    def request(self, route: str, tenant: str | None, status: int, seconds: float) -> None:
        """Count a request that was answered.

        Args:
            route: Template of its path, such as ``/v1/tenants/{tenant}``.
            tenant: Registered tenant whom it is about; None for none.
            status: HTTP status of the answer.
            seconds: Seconds until the answer.
        """
        with self._lock:
            label = self._busiest.label(tenant)
            self._outcomes.setdefault(label, set()).add((route, str(status)))
            self._requests.labels(route, str(status), label).inc()
            self._seconds.labels(route).observe(seconds)
            self._tenant_seconds.labels(label).observe(seconds)
            if route in ASKING:
                self._recent.add(tenant, seconds, status >= HTTPStatus.INTERNAL_SERVER_ERROR)

    def waited(self, lane: str, queue_s: float, engine_s: float) -> None:
        """Count a call of a lane, with the seconds in its queue and those of computing."""
        self._waited.labels(lane).observe(queue_s)
        self._computed.labels(lane).observe(engine_s)

    def refused(self, code: str) -> None:
        """Count a request that was refused, by the code of its error."""
        self._refused.labels(code).inc()

    def changed(self, kind: str) -> None:
        """Count a change of a tenant, such as ``swap``."""
        self._changes.labels(kind).inc()

    def watch(
        self,
        memory: Callable[[float], Memory],
        cached: Callable[[], Cached],
        waiting: Callable[[], Mapping[str, QueueFigures]],
        trouble: Callable[[], str | None],
    ) -> None:
        """Read figures of others whenever metrics are scraped; once.

        Args:
            memory: An engine's `memory`; it is given for how many seconds bytes on the disk are good enough.
            cached: An engine's `cached`.
            waiting: `Lanes.waiting`.
            trouble: Why the registry cannot be written; None if it can.
        """
        self._registry.register(Scraped(memory, cached, waiting, trouble))

    def render(self) -> bytes:
        """Return all metrics as Prometheus reads them; it counts files now and then, so not in the event loop."""
        return generate_latest(self._registry)

    def recent(self) -> Recent:
        """Return requests per second and latencies of the last two minutes."""
        with self._lock:
            return self._recent.figures()

    def _remove(self, tenant: str) -> None:
        """Remove the series of a tenant that is named no more, if it has any; the lock is held."""
        outcomes = self._outcomes.pop(tenant, set())
        for route, status in outcomes:
            self._requests.remove(route, status, tenant)
        if outcomes:
            self._tenant_seconds.remove(tenant)
