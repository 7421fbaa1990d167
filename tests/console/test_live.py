from __future__ import annotations

import json
from typing import Any

from hanlin.console.live import News


def overview(**changes: Any) -> dict[str, Any]:
    """Return an overview event of the API, but for *changes*."""
    deployment = {"name": "reviews", "state": "ready", "ready": 2, "wanted": 2, "figures": {"requests_per_s": 1.5}}
    body = {
        "deployments": [deployment],
        "gateway": {"ledger_size": 7},
        "host": {"cpu_ratio": 0.5},
        "tasks": {"running": 1, "queued": 2},
        "open_alerts": 0,
    }
    return {**body, **changes}


def names(events: list[tuple[str, str]]) -> list[str]:
    """Return the names of events."""
    return [name for name, _ in events]


class TestNews:
    def test_figures_come_every_time(self) -> None:
        """Charts and numbers get every look, by subject."""
        event, data = News().of("overview", overview(), 12.0)[0]
        message = json.loads(data)

        assert (event, message["at"]) == ("figures", 12.0)
        assert message["subjects"]["reviews"] == {"requests_per_s": 1.5, "replicas_ready": 2, "replicas_wanted": 2}
        assert message["subjects"]["platform"] == {"tasks_active": 3, "open_alerts": 0}
        assert message["subjects"]["gateway"] == {"ledger_size": 7}

    def test_changes_come_once(self) -> None:
        """Parts of pages are fetched again only when something about them changed."""
        news = News()
        first = news.of("overview", overview(), 0)
        same = news.of("overview", overview(), 1)
        alarmed = news.of("overview", overview(open_alerts=1), 2)

        assert names(first) == ["figures", "deployments", "alerts"]
        assert names(same) == ["figures"]
        assert names(alarmed) == ["figures", "alerts"]

    def test_figures_alone_are_no_change(self) -> None:
        """A deployment whose figures move has not changed."""
        news = News()
        news.of("overview", overview(), 0)
        busier = {**overview()["deployments"][0], "figures": {"requests_per_s": 99}}

        assert names(news.of("overview", overview(deployments=[busier]), 1)) == ["figures"]

    def test_progress_concerns_the_task_a_new_state_the_list_too(self) -> None:
        """A step further redraws the page of the task; the list of tasks waits for a new state."""
        news = News()
        task = {"id": "t1", "state": "running", "progress": {"done": 1}}

        assert names(news.of("task", task, 0)) == ["task-t1", "tasks"]
        assert names(news.of("task", {**task, "progress": {"done": 2}}, 1)) == ["task-t1"]
        assert names(news.of("task", {**task, "state": "succeeded"}, 2)) == ["task-t1", "tasks"]

    def test_unknown_events_are_left_out(self) -> None:
        """A newer API may say more than we understand."""
        assert News().of("something", {}, 0) == []
