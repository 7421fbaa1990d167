"""Reports and lists that draw on several planes at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from hanlin.audit import Query, iter_records
from hanlin.control import Probes
from hanlin.domain import Deployment, TaskId
from hanlin.monitoring import ReportFacts, SeriesStore, SeriesSummary, Uptime, Usage, deployment_report
from hanlin.store import Store
from hanlin.wire.admin import BaseReply

WINDOW = timedelta(hours=24)


class Reports:
    """Builds the report of eight figures per deployment."""

    def __init__(self, store: Store, series: SeriesStore, probes: Probes, ledger: Path) -> None:
        self._store, self._series, self._probes, self._ledger = store, series, probes, ledger

    def build(self) -> Mapping[str, Any]:
        """Return the report over the last 24 hours."""
        now = datetime.now(UTC)
        usage = self._usage(now)
        reports = [
            deployment_report(self._facts(deployment, usage.get(deployment.name, Usage())), now).as_dict()
            for deployment in self._store.deployments.iter()
        ]
        return {"at": now.isoformat(), "window_s": WINDOW.total_seconds(), "deployments": reports}

    def _facts(self, deployment: Deployment, usage: Usage) -> ReportFacts:
        model, number = deployment.spec.model, deployment.version
        evidence = [] if number is None else list(self._store.evidence.iter(model=model, version=number))
        tried, well = self._probes.uptime(deployment.name)
        return ReportFacts(
            deployment=deployment,
            versions=list(self._store.versions.iter(model=model)),
            evidence=evidence,
            promotions=list(self._store.promotions.iter(model=model)),
            summary=partial(self._summary, subject=deployment.name),
            usage=usage,
            uptime=Uptime(checks=tried, healthy=well),
            training_started_at=self._training_started_at(deployment),
            window_s=WINDOW.total_seconds(),
        )

    def _summary(self, name: str, *, subject: str) -> SeriesSummary | None:
        return self._series.summary(name, subject, since_s=WINDOW.total_seconds())

    def _training_started_at(self, deployment: Deployment) -> datetime | None:
        """Follow the lineage of the served version back to the task that trained it."""
        number = deployment.version
        version = None if number is None else self._store.versions.find(deployment.spec.model, number)
        while version is not None and (parent := version.lineage.get("parent")) is not None:
            version = self._store.versions.find(deployment.spec.model, parent)
        if version is None or not version.lineage.get("task"):
            return None
        task = self._store.tasks.find(TaskId(version.lineage["task"]))
        return None if task is None else task.started_at or task.created_at

    def _usage(self, now: datetime) -> dict[str, Usage]:
        """Count predictions by deployment from the ledger itself, so that totals equal a recomputation."""
        counts: dict[str, dict[str, Any]] = {}
        for record in iter_records(self._ledger, Query(kind="prediction", since=now - WINDOW)):
            name = str(record.details.get("deployment", ""))
            one = counts.setdefault(name, {"requests": 0, "succeeded": 0, "texts": 0, "tokens": 0, "by_key": {}})
            key = str(record.details.get("key", ""))
            one["requests"] += 1
            one["succeeded"] += record.status == 200
            one["by_key"][key] = one["by_key"].get(key, 0) + 1
            for name_ in ("texts", "tokens"):
                value = record.details.get(name_, 0)
                one[name_] += value if isinstance(value, int) else 0
        return {name: Usage(**one) for name, one in counts.items()}


def list_base_replies(store: Store) -> Sequence[BaseReply]:
    """Return the bases that can be pulled by name, and every one that is there."""
    from hanlin.training import list_bases

    pulled = {base.name: base for base in store.bases.iter()}
    known = [
        BaseReply(
            name=info.ref,
            description=info.title,
            source=info.source,
            licence=info.licence,
            pinned=pulled[info.ref].digest if info.ref in pulled else "",
            pulled=pulled.pop(info.ref, None),
        )
        for info in list_bases()
    ]
    others = [
        BaseReply(
            name=base.name, description="", source=base.source, licence=base.licence, pinned=base.digest, pulled=base
        )
        for base in pulled.values()
    ]
    return [*known, *others]
