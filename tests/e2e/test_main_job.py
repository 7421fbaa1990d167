"""The main job: from raw text to an audited endpoint, through the SDK, the command line, and plain HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import DEPLOYMENT, SELF_APPROVAL, Published
from tests.e2e.journey import LABELS, RECIPE, TEXTS, build_base, write_corpus
from tests.e2e.running import RunningPlatform, until

from hanlin.domain import TaskState, VersionFormat
from hanlin.sdk import Calls

FIGURES = (
    "accuracy",
    "inference_latency",
    "throughput",
    "end_to_end_time",
    "start_time",
    "iteration_efficiency",
    "stability",
    "usage",
)
PRAISE, BLAME = "这个产品好棒，大家都喜爱，赞！", "又慢又差，烂，骗人的坏东西"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """A platform that knows nothing yet."""
    with RunningPlatform(tmp_path_factory.mktemp("cli") / "data", SELF_APPROVAL) as platform:
        yield platform


class TestSdk:
    def test_text_becomes_a_corpus_version_with_its_profile(self, shared: RunningPlatform) -> None:
        """An import says what came in: rows, labels, splits, licence, and the digest of what is kept."""
        with shared.control() as client:
            corpus = client.send(Calls.get_corpus("reviews", 1))
            rows = client.send(Calls.list_corpus_rows("reviews", 1, split="test", limit=3)).data

        assert corpus.kind == "labelled"
        assert corpus.licence == "CC0-1.0"
        assert tuple(sorted(corpus.labels)) == tuple(sorted(LABELS))
        assert set(corpus.splits) == {"train", "validation", "test"}
        assert sum(corpus.splits.values()) == corpus.rows <= TEXTS
        assert [row["label"] in LABELS for row in rows] == [True] * 3

    def test_training_shows_its_progress_and_its_curves(self, shared: RunningPlatform, published: Published) -> None:
        """A finished run keeps its log and its series, and says what it reached."""
        trained = published.journey.trained
        with shared.control() as client:
            series = client.send(Calls.get_task_series(trained.id)).series
            log = client.send(Calls.get_task_log(trained.id)).lines

        assert trained.state is TaskState.SUCCEEDED
        assert trained.result is not None
        assert trained.result["validation_accuracy"] > 0.95
        assert series["validation_accuracy"][-1][1] > 0.95
        assert {"recipe settled", "steps planned", "validated"} <= {line.message for line in log}

    def test_versions_carry_their_origin_and_their_evidence(self, shared: RunningPlatform) -> None:
        """From every version one can go back to corpus, base, recipe and task, and see what was measured."""
        with shared.control() as client:
            model = client.send(Calls.get_model("reviews"))
            int8 = client.send(Calls.get_version("reviews", 3))

        assert [(v.number, v.format, v.precision) for v in sorted(model.versions, key=lambda v: v.number)] == [
            (1, VersionFormat.TRANSFORMERS, "fp32"),
            (2, VersionFormat.ONNX, "fp32"),
            (3, VersionFormat.ONNX, "int8"),
        ]
        assert int8.version.lineage["corpus"] == "reviews@1"
        assert int8.version.lineage["parent"] == 1
        assert int8.version.lineage["recipe"]["epochs"] == RECIPE["epochs"]
        assert {evidence.kind for evidence in int8.evidence} == {"compression", "quality"}
        assert int8.aliases == ["champion"]
        assert [p.state.value for p in int8.promotions] == ["approved"]

    def test_the_endpoint_judges_and_the_ledger_knows(self, shared: RunningPlatform) -> None:
        """An answer says which bytes gave it; its record is found by its request id, with both bodies."""
        with shared.gateway() as gateway, shared.control() as control:
            reply = gateway.classify(DEPLOYMENT, [PRAISE, BLAME], user="customer-7")
            found = control.send(Calls.search_records(kind="prediction", subject="customer-7")).data
            version = control.send(Calls.get_version("reviews", reply["version"])).version

        assert [row["label"] for row in reply["data"]] == ["正面", "负面"]
        assert reply["digest"] == version.digest
        assert len(found) == 1
        assert found[0].details["labels"] == ["正面", "负面"]
        assert found[0].request["input"] == [PRAISE, BLAME]
        assert found[0].result == reply

    def test_the_ledger_verifies_while_it_is_written(self, shared: RunningPlatform) -> None:
        """Verification recomputes every log and finds all of them intact."""
        with shared.control() as client:
            verdict = client.send(Calls.verify_ledger())

        assert verdict.is_intact
        assert {log.writer for log in verdict.logs} >= {"control", "gateway-0", "worker", "local"}
        assert verdict.size == sum(log.size for log in verdict.logs) > 20

    def test_what_served_when_can_be_asked(self, shared: RunningPlatform) -> None:
        """A deployment tells the version and the promotion that were in force at an instant."""
        record = shared.records(action="deployment.created")[0]
        with shared.control() as client:
            now = client.send(Calls.served_at(DEPLOYMENT, shared.records()[-1].at))
            before = client.send(Calls.served_at(DEPLOYMENT, record.at.replace(year=record.at.year - 1)))

        assert (now.version, now.promotion is not None) == (3, True)
        assert (before.version, before.release) == (None, None)


class TestHttp:
    def test_a_prediction_says_what_made_it(self, shared: RunningPlatform) -> None:
        """An answer carries request id, model version, digest and timings in its headers."""
        reply = shared.post({"model": DEPLOYMENT, "input": PRAISE})

        assert reply.status_code == 200
        assert reply.json()["data"][0]["label"] == "正面"
        assert reply.headers["X-Model-Version"] == "3"
        assert reply.headers["X-Model-Digest"] == reply.json()["digest"]
        assert "audit;dur=" in reply.headers["Server-Timing"]
        until(lambda: len(shared.records(request_id=reply.headers["X-Request-Id"])) == 1, 5, "it is on record")

    def test_errors_come_in_the_dialect_of_their_path(self, shared: RunningPlatform) -> None:
        """On /v1 an error has OpenAI's shape, on /api/v1 that of RFC 9457; code and request id are in both."""
        v1 = shared.post({"model": "nobody", "input": "x"})
        missing = httpx.get(
            f"{shared.addresses['control']}/api/v1/models/nobody",
            headers={"Authorization": f"Bearer {shared.key}"},
            trust_env=False,
        )

        assert v1.status_code == missing.status_code == 404
        assert v1.json()["error"]["code"] == "model_not_found"
        assert missing.headers["Content-Type"] == "application/problem+json"
        assert missing.json()["code"] == "model_not_found"
        assert missing.json()["request_id"] == missing.headers["X-Request-Id"]

    def test_health_endpoints_answer_without_a_key(self, shared: RunningPlatform) -> None:
        """Both processes say that they are alive and ready, and show their figures."""
        urls = [shared.addresses[name] + path for name in ("gateway", "control") for path in ("/livez", "/readyz")]

        assert [httpx.get(url, trust_env=False).status_code for url in urls] == [200] * 4
        metrics = httpx.get(shared.addresses["gateway"] + "/metrics", trust_env=False).text
        assert re.search(r'inference_requests_total\{deployment="reviews",outcome="ok"\} [1-9]', metrics)


class TestCommandLine:
    @pytest.mark.timeout(240)
    def test_the_whole_way_with_nine_commands(self, platform: RunningPlatform, tmp_path: Path) -> None:
        """Import, pull, train, compress, evaluate, publish, deploy, predict, audit: each command does its step."""
        recipe = [word for name, value in RECIPE.items() for word in ("--set", f"{name}={value}")]
        run = platform.run
        corpus = run("corpus", "import", "reviews", str(write_corpus(tmp_path / "my.jsonl")), "--licence", "CC0-1.0")
        base = run("base", "pull", f"folder:{build_base(tmp_path / 'tiny')}")
        name = printed(base.stdout)["base"]
        train = run("train", "reviews", "reviews@1", "--base", name, *recipe, timeout_s=120)
        compress = run("compress", "reviews", timeout_s=120)
        evaluate = run("evaluate", "reviews", "3")
        publish = run("publish", "reviews", "3", "--policy", "accuracy_low >= 0.9 and n >= 100")
        deploy = run("deploy", "reviews", "reviews", "--set", "max_replicas=1")

        for done in (corpus, base, train, compress, evaluate, publish, deploy):
            assert done.returncode == 0, done.stdout + done.stderr
        assert "100%" in train.stdout
        assert printed(corpus.stdout)["version"] == 1
        assert [made["precision"] for made in printed(compress.stdout)["versions"]] == ["fp32", "int8"]
        assert printed(evaluate.stdout)["figures"]["accuracy"] > 0.95
        assert printed(publish.stdout)["state"] == "approved"

    def test_it_predicts_and_accounts_for_it(self, platform: RunningPlatform) -> None:
        """What one command predicted, the next one finds in the ledger, and a third one verifies."""
        platform.wait_for("reviews")
        predicted = platform.json("predict", "reviews", PRAISE, BLAME)
        table = platform.run("predict", "reviews", BLAME)
        found = platform.run("audit", "search", "kind=prediction", "label=负面")
        verified = platform.run("audit", "verify")

        assert [row["label"] for row in predicted["data"]] == ["正面", "负面"]
        assert "负面" in table.stdout
        assert "predict" in found.stdout
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert verified.stdout.count("intact") >= 4

    def test_the_report_has_its_eight_figures(self, platform: RunningPlatform) -> None:
        """Accuracy, latency, throughput, end-to-end time, start time, iteration, stability and usage are all there."""
        until(lambda: is_measured(platform.json("report")["deployments"][0]), 20, "everything was measured")
        report = platform.json("report")["deployments"][0]

        assert [name for name in FIGURES if not report[name]] == []
        assert report["accuracy"]["accuracy"] > 0.95
        assert report["start_time"]["replica_start_s"] > 0
        assert report["iteration_efficiency"]["lead_time_s"] > 0
        assert report["stability"]["success_ratio"] == 1.0
        assert report["usage"]["requests"] == len(platform.records(kind="prediction"))

    def test_status_and_lists_show_what_there_is(self, platform: RunningPlatform) -> None:
        """Status, deployments, models, corpora, tasks and keys can be listed as tables."""
        commands = ("status", "deployment list", "model list", "corpus list", "task list", "keys list", "base list")
        shown = {command: platform.run(*command.split()) for command in commands}

        assert {command: done.returncode for command, done in shown.items()} == dict.fromkeys(commands, 0)
        assert "1/1" in shown["status"].stdout
        assert "champion" in shown["model list"].stdout
        assert shown["task list"].stdout.count("succeeded") == 6


def is_measured(report: dict[str, Any]) -> bool:
    """Whether no figure of a report is still unknown."""
    return all(value is not None for name in FIGURES for value in report[name].values())


def printed(output: str) -> dict[str, Any]:
    """Return the JSON that a command printed behind its progress."""
    found: dict[str, Any] = json.loads(output[output.index("{\n") :])
    return found
