from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gateway.running import DIGEST, KEY, RunningGateway, grant, route

GOLDEN = Path(__file__).parents[1] / "golden"


class TestClassify:
    async def test_answers_one_text(self, running: RunningGateway, model: Path) -> None:
        """A text gets a label, its score, all probabilities, and what it cost."""
        await running.serve(model, "r1")

        reply = await running.classify("这个很好")

        assert reply.status_code == 200
        body = reply.json()
        golden = json.loads((GOLDEN / "classify_reply.json").read_text(encoding="utf-8"))
        assert {**body, "data": None} == {**golden, "data": None}
        (one,) = body["data"]
        assert (one["index"], one["label"]) == (0, "正面")
        assert one["score"] == one["probabilities"]["正面"] > 0.5
        assert sum(one["probabilities"].values()) == pytest.approx(1)
