from __future__ import annotations

import json

from hanlin.console.charts import columns, intervals, line, over_steps, over_time, spark, stacks


class TestCharts:
    def test_are_plain_data(self) -> None:
        """A chart travels to the browser as JSON; what grows there says whose figure it shows."""
        grows = line("p99", [(1.0, 2.0)], live=("reviews", "latency_p99_ms"))
        charts = [over_time([grows], unit="ms"), over_steps([grows]), spark([(1.0, 2.0)]), columns({"a": 1.0})]

        assert json.loads(json.dumps(charts))[0]["lines"][0]["live"] == ["reviews", "latency_p99_ms"]
        assert [chart["kind"] for chart in charts] == ["time", "steps", "spark", "columns"]

    def test_stacks_fill_what_a_group_lacks(self) -> None:
        """Every part has a value for every group, in the order of the groups."""
        chart = stacks({"train": {"good": 3, "bad": 1}, "test": {"bad": 2}})

        assert chart["names"] == ["train", "test"]
        assert chart["parts"] == [{"name": "good", "values": [3, 0]}, {"name": "bad", "values": [1, 2]}]

    def test_intervals_keep_their_bounds(self) -> None:
        """A value is never drawn without how sure it is."""
        assert intervals([("v3", 0.81, 0.83, 0.85)])["rows"] == [["v3", 0.81, 0.83, 0.85]]
