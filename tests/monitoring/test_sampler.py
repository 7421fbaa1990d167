from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.monitoring import Sampler, SeriesKey, SeriesStore, values_of
from hanlin.monitoring.rates import bucket_increases, increase, quantile
from hanlin.telemetry import SECONDS_BOUNDS, Histogram
from hanlin.wire import DeploymentReport, GatewayReport, HistogramReport, LedgerReport, ReplicaReport

EMPTY = HistogramReport(counts=[0] * (len(SECONDS_BOUNDS) + 1), sum=0.0)


def histogram(*seconds: float) -> HistogramReport:
    found = Histogram()
    for value in seconds:
        found.observe(value)
    return HistogramReport(counts=found.counts, sum=found.sum)


def deployment(
    outcomes: Mapping[str, int], texts: int = 0, total_s: HistogramReport = EMPTY, in_flight: int = 0
) -> DeploymentReport:
    return DeploymentReport("reviews", 0, in_flight, dict(outcomes), texts, texts * 20, EMPTY, EMPTY, total_s)


def replica(name: str, state: str = "ready", start_s: float = 0.5) -> ReplicaReport:
    return ReplicaReport(name, "reviews", 1, "d", 1, state, 1, 0, start_s, 0, 0.1, 0, "")


def report(
    *deployments: DeploymentReport,
    at: float = 100.0,
    started_at: float = 0.0,
    gateway: str = "g1",
    replicas: tuple[ReplicaReport, ...] = (),
) -> GatewayReport:
    ledger = LedgerReport(writer=gateway, size=7, root="", failed=False)
    return GatewayReport(gateway, started_at, at, 1, list(replicas), list(deployments), ledger, 1000)


def key(name: str, subject: str = "reviews") -> SeriesKey:
    return SeriesKey(name, subject)


class TestValues:
    def test_rates_are_what_grew_over_the_time(self) -> None:
        """Requests, texts and errors per second follow from two looks."""
        before = {"g1": report(deployment({"ok": 100}, texts=200))}
        after = {"g1": report(deployment({"ok": 130, "overloaded": 8, "text_too_long": 2}, texts=260))}

        values = values_of(before, after, 2.0, {})

        assert values[key("requests_per_s")] == 20.0
        assert values[key("texts_per_s")] == 30.0
        assert values[key("error_ratio")] == 0.2

    def test_quantiles_are_of_the_time_between(self) -> None:
        """Latency is of the requests since the last look, not since the start."""
        old = [0.0045] * 1000
        before = {"g1": report(deployment({"ok": 1000}, total_s=histogram(*old)))}
        after = {"g1": report(deployment({"ok": 1010}, total_s=histogram(*old, *[0.35] * 10)))}

        values = values_of(before, after, 1.0, {})

        assert 300 < values[key("latency_p50_ms")] <= 400

    def test_several_gateways_count_together(self) -> None:
        """A deployment's figures are those of all gateways; a replica that dials two of them is one."""
        before = {name: report(deployment({"ok": 0}), gateway=name) for name in ("g1", "g2")}
        after = {
            name: report(deployment({"ok": 5}, in_flight=3), gateway=name, replicas=(replica("r1"), replica(name)))
            for name in ("g1", "g2")
        }

        values = values_of(before, after, 1.0, {})

        assert values[key("requests_per_s")] == 10.0
        assert values[key("in_flight")] == 6.0
        assert values[key("replicas_ready")] == 3.0
        assert values[key("gateways_live", "gateway")] == 2.0
        assert values[key("ledger_size", "gateway")] == 14.0

    def test_a_restarted_gateway_counts_from_nothing(self) -> None:
        """Counters that were started anew never give a negative or a huge rate."""
        before = {"g1": report(deployment({"ok": 5000}), at=100)}
        after = {"g1": report(deployment({"ok": 30}), at=101, started_at=100.5)}

        assert values_of(before, after, 1.0, {})[key("requests_per_s")] == 30.0

    def test_a_gateway_that_is_new_to_us_shows_no_rate(self) -> None:
        """After a restart of control, what a gateway did before is no burst."""
        values = values_of({}, {"g1": report(deployment({"ok": 90_000}), at=1000)}, 1.0, {})

        assert values[key("requests_per_s")] == 0.0

    def test_nothing_answered_means_no_latency(self) -> None:
        """An idle deployment has no quantiles rather than zero."""
        look = {"g1": report(deployment({"ok": 5}))}

        values = values_of(look, look, 1.0, {})

        assert key("latency_p99_ms") not in values
        assert values[key("error_ratio")] == 0.0

    def test_a_wanted_deployment_that_nobody_serves_has_no_replicas(self) -> None:
        """When the gateways are gone, ready replicas are zero, so that the alert fires."""
        values = values_of({}, {}, 1.0, {"reviews": 2})

        assert values[key("replicas_ready")] == 0.0
        assert values[key("replicas_wanted")] == 2.0


class TestRates:
    def test_a_counter_that_fell_was_started_anew(self) -> None:
        """A reset is not a negative growth."""
        assert increase(10, 15) == 5
        assert increase(10, 3) == 3
        assert bucket_increases([5, 5], [6, 2]) == [6, 2]

    @given(
        values=st.lists(st.floats(0.0001, 50), min_size=1, max_size=200),
        q=st.sampled_from([0.5, 0.95, 0.99, 1.0]),
    )
    def test_a_quantile_lies_in_the_bucket_of_the_true_one(self, values: list[float], q: float) -> None:
        """The error of a quantile is never more than the width of its bucket."""
        counts = list(histogram(*values).counts)
        true = sorted(values)[max(0, -int(-q * len(values) // 1) - 1)]

        found = quantile(SECONDS_BOUNDS, counts, q)

        assert found is not None
        upper = next(bound for bound in SECONDS_BOUNDS if bound >= true)
        lower = max((bound for bound in SECONDS_BOUNDS if bound < upper), default=0.0)
        assert lower - 1e-9 <= found <= upper + 1e-9

    def test_beyond_the_last_bound_is_the_last_bound(self) -> None:
        """What is too slow for the histogram shows as its end, and nothing as None."""
        assert quantile((1.0, 2.0), [0, 0, 4], 0.5) == 2.0
        assert quantile((1.0, 2.0), [0, 0, 0], 0.5) is None


class TestSampler:
    def test_makes_a_point_of_every_series_each_second(self, tmp_path: Path) -> None:
        """What gateways report shows up in the store and as latest figures."""
        now = [1000.0]
        store = SeriesStore(tmp_path / "m.sqlite3", clock=lambda: now[0])
        sampler = Sampler(store, clock=lambda: now[0])
        for n in range(10):
            sampler.observe(report(deployment({"ok": 20 * n}), at=now[0], replicas=(replica("r1"),)))
            sampler.tick({"reviews": 1}, {key("cpu_ratio", "host"): 0.5})
            now[0] += 1

        assert sampler.figures("reviews")["requests_per_s"] == pytest.approx(20.0)
        assert sampler.figures("host") == {"cpu_ratio": 0.5}
        assert len(store.query("replicas_ready", "reviews", since_s=60)) == 10
        store.close()

    def test_forgets_a_gateway_that_is_silent(self, tmp_path: Path) -> None:
        """Three seconds without a report, and its replicas count no more."""
        now = [1000.0]
        store = SeriesStore(tmp_path / "m.sqlite3", clock=lambda: now[0])
        sampler = Sampler(store, clock=lambda: now[0])
        sampler.observe(report(replicas=(replica("r1"),)))
        before = sampler.tick({"reviews": 1})
        now[0] += 4
        after = sampler.tick({"reviews": 1})

        assert (before[key("replicas_ready")], after[key("replicas_ready")]) == (1.0, 0.0)
        assert after[key("gateways_live", "gateway")] == 0.0
        store.close()
