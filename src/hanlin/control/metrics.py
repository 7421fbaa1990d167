"""The latest value of every series, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from hanlin.monitoring import Sampler
from hanlin.telemetry import Collector, Metric


class SeriesCollector(Collector):
    """Shows what the sampler knows as gauges, labelled by subject (a deployment, ``gateway`` or ``host``)."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def collect(self) -> Iterable[Metric]:
        """Return one family per series name."""
        families: dict[str, Metric] = {}
        for key, value in self._sampler.values.items():
            family = families.setdefault(key.name, Metric(f"hanlin_{key.name}", f"Latest {key.name}.", "gauge"))
            family.add_sample(family.name, {"subject": key.subject}, value)
        return families.values()
