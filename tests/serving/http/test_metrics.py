"""Metrics: few series however many tenants there are, counters that only grow, and figures of the last minutes."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmrec_peft.serving.http.lanes.lines import QueueFigures
from llmrec_peft.serving.http.seeing import busiest, recent
from llmrec_peft.serving.http.seeing.metrics import Metrics
from llmrec_peft.serving.result_cache import Cached
from llmrec_peft.serving.tiers.memory import Memory

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class Clock:
    """Seconds that pass only when somebody says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def series(metrics: Metrics) -> Series:
    """Every series as Prometheus reads it."""
    families = text_string_to_metric_families(metrics.render().decode())
    samples = (sample for family in families for sample in family.samples if not sample.name.endswith("_created"))
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


def tenants_in(found: Series) -> set[str]:
    return {value for _, labels in found for name, value in labels if name == "tenant"}


def test_tenants_beyond_the_busiest_are_counted_together() -> None:
    clock = Clock()
    metrics = Metrics(named_tenants=3, clock=clock)
    for _ in range(5):
        for number in range(200):
            for _ in range(40 if number >= 197 else 1):
                metrics.request("/v1/recommend", f"shop {number}", 200, 0.01)
        clock.now += busiest.LOOKED_S
    found = series(metrics)
    assert tenants_in(found) == {"shop 197", "shop 198", "shop 199", busiest.OTHER}
    counts = {
        dict(labels)["tenant"]: value for (name, labels), value in found.items() if name == "llmrec_requests_total"
    }
    assert counts[busiest.OTHER] >= 5 * 197 - 3
    assert all(counts[f"shop {number}"] >= 4 * 40 for number in (197, 198, 199))


def test_series_stay_few_and_grow_only_while_the_busiest_change() -> None:
    """Whatever tenants come and go, a series that is there in two scrapes did not shrink between them."""
    clock, drawn = Clock(), random.Random(1)
    metrics = Metrics(named_tenants=5, clock=clock)
    before: Series = {}
    total, seen_other = 0, 0.0
    sizes = list[int]()
    for turn in range(60):
        crowd = [f"shop {drawn.randrange(turn, turn + 30)}" for _ in range(100)]
        for tenant in crowd:
            metrics.request(drawn.choice(["/v1/recommend", "/v1/score"]), tenant, drawn.choice([200, 429]), 0.01)
        total += len(crowd)
        clock.now += 7
        found = series(metrics)
        assert len(tenants_in(found) - {busiest.OTHER, busiest.NOBODY}) <= 5
        other = sum(
            value
            for (name, labels), value in found.items()
            if name == "llmrec_requests_total" and ("tenant", busiest.OTHER) in labels
        )
        assert other >= seen_other, "requests that were counted as others' stay counted"
        seen_other = other
        for key, value in before.items():
            if key[0].endswith(("_total", "_count", "_bucket")):
                assert found.get(key, value) >= value
        by_route = sum(value for (name, _), value in found.items() if name == "llmrec_request_seconds_count")
        assert by_route == total, "routes count every request once, whoever is named"
        sizes.append(len(found))
        before = found
    assert max(sizes[20:]) <= max(sizes[:20]) + 20, "old series are removed"


def test_tenant_that_is_named_again_begins_anew_and_others_are_not_forgotten() -> None:
    clock = Clock()
    metrics = Metrics(named_tenants=1, clock=clock)

    def ask(tenant: str, times: int) -> None:
        for _ in range(times):
            metrics.request("/v1/score", tenant, 200, 0.01)
        clock.now += busiest.LOOKED_S + 1

    ask("a", 10)
    ask("b", 100)
    ask("b", 100)
    assert "a" not in tenants_in(series(metrics))
    clock.now += 10 * busiest.HALF_S
    ask("a", 50)
    ask("a", 50)
    found = series(metrics)
    assert tenants_in(found) == {"a", busiest.OTHER}
    counts: dict[str, float] = defaultdict(float)
    for (name, labels), value in found.items():
        if name == "llmrec_requests_total":
            counts[dict(labels)["tenant"]] += value
    assert 50 <= counts["a"] <= 100
    assert counts[busiest.OTHER] >= 100


def test_tenant_called_other_and_requests_of_nobody_are_no_series_of_their_own() -> None:
    metrics = Metrics(named_tenants=2)
    metrics.request("/v1/score", busiest.OTHER, 200, 0.01)
    metrics.request("/healthz", None, 200, 0.01)
    metrics.request("/v1/score", "shop", 200, 0.01)
    assert tenants_in(series(metrics)) == {busiest.OTHER, busiest.NOBODY, "shop"}


def test_no_tenant_is_named_where_none_may_be() -> None:
    metrics = Metrics(named_tenants=0)
    metrics.request("/v1/score", "shop", 200, 0.01)
    assert tenants_in(series(metrics)) == {busiest.OTHER}


def test_latencies_are_those_of_the_last_minutes() -> None:
    clock = Clock()
    metrics = Metrics(clock=clock)
    for number in range(1, 1001):
        metrics.request("/v1/score", "shop" if number % 2 else "other shop", 200, number / 1000)
    metrics.request("/healthz", None, 200, 0.5)
    clock.now += 20
    found = metrics.recent()
    assert (found.all.requests, found.tenants["shop"].requests) == (1000, 500), "probes are left out"
    for share, seconds in ((0.5, found.all.p50_s), (0.95, found.all.p95_s), (0.99, found.all.p99_s)):
        assert share <= seconds <= share * 1.11
    assert found.all.per_second == pytest.approx(1000 / 20, rel=0.5)
    clock.now += recent.SLOT_S * recent.SLOTS
    assert metrics.recent().all.requests == 0
    assert metrics.recent().tenants == {}


def test_figures_of_many_tenants_are_kept_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "TENANTS", 10)
    metrics = Metrics()
    for number in range(100):
        metrics.request("/v1/score", f"shop {number}", 200, 0.01)
    assert set(metrics.recent().tenants) == {f"shop {number}" for number in range(90, 100)}


def test_figures_of_the_engine_its_lanes_and_the_registry_are_read_at_each_scrape() -> None:
    metrics, said = Metrics(), list[str | None]([None])
    memory = Memory(None, *range(1, 21))
    ages = list[float]()

    def at(age_s: float) -> Memory:
        ages.append(age_s)
        return memory

    lanes = {"known": QueueFigures(1, 2, 3, 4, 5.0)}
    metrics.watch(at, lambda: Cached(9, 8, 7, 6, 5), lambda: lanes, lambda: said[0])
    assert not ages, "nobody is asked before the first scrape"
    found = series(metrics)
    assert found["llmrec_memory_bytes", (("tier", "host"),)] == memory.host_bytes
    assert found["llmrec_versions", (("tier", "failed"),)] == memory.failed
    assert found["llmrec_versions_events_total", (("event", "evictions"),)] == memory.evictions
    assert found["llmrec_lane_calls", (("lane", "known"), ("state", "parked"))] == 2
    assert found["llmrec_kept_hits_total", ()] == 6
    assert found["llmrec_registry_trouble", ()] == 0
    said[0] = "the disk is full"
    assert series(metrics)["llmrec_registry_trouble", ()] == 1
    assert min(ages) > 0, "files of the store are not counted at each scrape"


def test_waits_refusals_and_changes_are_counted() -> None:
    metrics = Metrics()
    metrics.waited("known", 0.004, 0.02)
    metrics.refused("too_many")
    metrics.changed("swap")
    found = series(metrics)
    assert found["llmrec_lane_waited_seconds_sum", (("lane", "known"),)] == 0.004
    assert found["llmrec_lane_computed_seconds_sum", (("lane", "known"),)] == 0.02
    assert found["llmrec_refused_total", (("code", "too_many"),)] == 1
    assert found["llmrec_changes_total", (("kind", "swap"),)] == 1
