"""Scraped: figures of the engine, its lanes and the registry, read when metrics are scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from llmrec_peft.serving.http.lanes.lines import QueueFigures
    from llmrec_peft.serving.result_cache import Cached
    from llmrec_peft.serving.tiers.memory import Memory

DISK_AGE_S = 60.0
"""Seconds for which bytes on the disk are not counted again."""
_BYTES = (
    "host_bytes",
    "mapped_bytes",
    "pinned_bytes",
    "added_bytes",
    "skeleton_bytes",
    "adapter_bytes",
    "adapter_host_bytes",
    "disk_bytes",
)
_VERSIONS = ("sealed", "loading", "ready", "failed")
_COUNTED = ("hits", "waits", "loads", "evictions", "failures", "refusals")


class Scraped(Collector):
    """Reads what others know."""

    def __init__(
        self,
        memory: Callable[[float], Memory],
        cached: Callable[[], Cached],
        waiting: Callable[[], Mapping[str, QueueFigures]],
        trouble: Callable[[], str | None],
    ) -> None:
        """Set whom to ask, see `Metrics.watch`."""
        self._memory, self._cached, self._waiting, self._trouble = memory, cached, waiting, trouble

    def describe(self) -> list[Metric]:
        """Return nothing, so that nobody is asked before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures."""
        yield from self._of_memory(self._memory(DISK_AGE_S))
        cached = self._cached()
        yield GaugeMetricFamily("llmrec_kept_lists", "Lists that are kept.", cached.lists)
        yield GaugeMetricFamily("llmrec_kept_bytes", "Bytes of lists that are kept.", cached.nbytes)
        yield CounterMetricFamily("llmrec_kept_hits", "Lists that were asked for and were kept.", cached.hits)
        yield CounterMetricFamily("llmrec_kept_misses", "Lists that had to be computed.", cached.misses)
        yield from self._of_lanes()
        yield GaugeMetricFamily(
            "llmrec_registry_trouble", "1 if the registry cannot be written.", float(self._trouble() is not None)
        )

    def _of_memory(self, memory: Memory) -> Iterator[Metric]:
        values = memory.plain()
        sizes = GaugeMetricFamily("llmrec_memory_bytes", "Bytes by tier.", labels=["tier"])
        for name in _BYTES:
            sizes.add_metric([name.removesuffix("_bytes")], values[name])
        yield sizes
        versions = GaugeMetricFamily("llmrec_versions", "Versions by where they are.", labels=["tier"])
        for name in _VERSIONS:
            versions.add_metric([name], values[name])
        yield versions
        happened = CounterMetricFamily("llmrec_versions_events", "What became of versions and asks.", labels=["event"])
        for name in _COUNTED:
            happened.add_metric([name], values[name])
        yield happened

    def _of_lanes(self) -> Iterator[Metric]:
        calls = GaugeMetricFamily("llmrec_lane_calls", "Calls in a lane.", labels=["lane", "state"])
        tokens = GaugeMetricFamily("llmrec_lane_tokens", "Tokens of text in a lane, estimated.", labels=["lane"])
        oldest = GaugeMetricFamily("llmrec_lane_oldest_seconds", "Seconds of the longest wait now.", labels=["lane"])
        for lane, figures in self._waiting().items():
            for state in ("waiting", "parked", "running"):
                calls.add_metric([lane, state], getattr(figures, state))
            tokens.add_metric([lane], figures.tokens)
            oldest.add_metric([lane], figures.oldest_s)
        yield from (calls, tokens, oldest)
