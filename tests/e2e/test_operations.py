"""What an operator does while it serves: configure, scale, promote, watch, schedule, revoke, verify."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.e2e.conftest import DEPLOYMENT, SELF_APPROVAL, Published
from tests.e2e.load import Load
from tests.e2e.running import RunningPlatform, kill, measured, refusal, until
from tests.monitoring.receiver import Receiver

from hanlin.domain import PromotionState, Schedule, TaskState
from hanlin.sdk import Calls

EVERY_MINUTE = "* * * * *"
EVALUATION = {"model": "reviews", "version": 3}


@dataclass
class Operated:
    """A platform with one deployment, a receiver that its alerts may go to, and a schedule that runs every minute."""

    platform: RunningPlatform
    receiver: Receiver
    schedule: Schedule

    def send(self, call: Any, key: str | None = None) -> Any:
        """Send a call of the management API."""
        with self.platform.control(key) as client:
            return client.send(call)

    def key(self, name: str, *roles: str) -> tuple[str, str]:
        """Make a key; return its id and the key."""
        made = self.send(Calls.create_key(name, roles=list(roles)))
        return made.id, made.key


@pytest.fixture(scope="module")
def operated(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """One platform for the whole module; tests leave the deployment ready, with one replica."""
    receiver = Receiver()
    receiver.start()
    settings = {"HANLIN_ALERTS__WEBHOOK_HOSTS": json.dumps([receiver.listed]), "HANLIN_PROBES__DEEP_S": "1"}
    with published.copy(tmp_path_factory.mktemp("operated") / "data", settings) as platform:
        platform.deploy(DEPLOYMENT, max_replicas=1)
        with platform.control() as client:
            schedule = client.send(Calls.create_schedule("evaluate", EVALUATION, cron=EVERY_MINUTE))
        yield Operated(platform, receiver, schedule)
    receiver.stop()


class TestConfiguration:
    def test_a_bound_changes_without_a_restart(self, operated: Operated) -> None:
        """max_batch_tokens takes effect in the gateway at once: the same processes serve under a new release."""
        platform = operated.platform
        before, replicas = platform.deployment(DEPLOYMENT).deployment.release, platform.replicas(DEPLOYMENT)
        plan = operated.send(Calls.plan_configuration(DEPLOYMENT, {"max_batch_tokens": 256}))
        operated.send(Calls.configure(DEPLOYMENT, {"max_batch_tokens": 256}, note="smaller batches"))
        until(lambda: release_of_next_answer(platform) == before + 1, 10, "an answer under the new release")

        assert plan.restarts_replicas is False
        assert platform.replicas(DEPLOYMENT) == replicas

    def test_a_setting_of_the_engine_changes_without_a_failed_request(self, operated: Operated) -> None:
        """Another number of threads takes new processes: they start first, the old ones leave after, nobody notices."""
        platform = operated.platform
        before = set(platform.replicas(DEPLOYMENT).values())
        with Load(platform, DEPLOYMENT) as load:
            operated.send(Calls.configure(DEPLOYMENT, {"threads": 2}))
            until(lambda: replaced(platform, before), 30, "another process serves")
            load.go_on()

        assert load.failed == []

    def test_an_earlier_release_comes_back(self, operated: Operated) -> None:
        """A rollback publishes the old configuration as a new release; the history shows who, when and why."""
        platform = operated.platform
        before = set(platform.replicas(DEPLOYMENT).values())
        with Load(platform, DEPLOYMENT) as load:
            operated.send(Calls.rollback(DEPLOYMENT, 1, note="as it was"))
            until(lambda: replaced(platform, before), 30, "another process serves")
        newest = operated.send(Calls.list_releases(DEPLOYMENT)).data[0]
        spec = platform.deployment(DEPLOYMENT).deployment.spec

        assert load.failed == []
        assert (newest.rolled_back_to, newest.note, newest.created_by) == (1, "as it was", "local")
        assert (spec.threads, spec.max_batch_tokens) == (1, 512)

    def test_a_setting_that_cannot_work_harms_nobody(self, operated: Operated) -> None:
        """
        A device that is not there: the replicas of before go on, the status says why the new ones do not come, they
        are tried later and later instead of more and more, and a rollback ends it.
        """
        platform = operated.platform
        release = platform.deployment(DEPLOYMENT).deployment.release
        with Load(platform, DEPLOYMENT) as load:
            operated.send(Calls.configure(DEPLOYMENT, {"device": "cuda"}))
            until(lambda: restarts(platform) >= 3, 60, "the new replica was tried again and again")
            said, processes = platform.deployment(DEPLOYMENT), replica_processes(platform)
            operated.send(Calls.rollback(DEPLOYMENT, release))
            platform.wait_for(DEPLOYMENT)
            until(lambda: replica_processes(platform) == 1, 30, "only one replica is left")
            load.go_on()

        assert load.failed == []
        assert said.state == "updating"
        assert "cuda" in said.message
        assert processes <= 2

    def test_a_stale_change_is_refused(self, operated: Operated) -> None:
        """Who read an older configuration overwrites nobody's change."""
        etag = operated.platform.deployment(DEPLOYMENT).etag
        operated.send(Calls.configure(DEPLOYMENT, {"queue_limit": 600}, etag=etag))
        late = refusal(lambda: operated.send(Calls.configure(DEPLOYMENT, {"queue_limit": 700}, etag=etag)))

        assert (late.status, late.code) == (412, "precondition_failed")
        assert operated.platform.deployment(DEPLOYMENT).deployment.spec.queue_limit == 600


class TestPromotion:
    def test_it_waits_for_somebody_else_and_then_rolls_out(self, operated: Operated) -> None:
        """
        Whoever asks may not approve. A second person's approval moves the alias, the other version takes over
        without a failed request, and every answer names the version that gave it.
        """
        platform = operated.platform
        _, engineer = operated.key("engineer", "engineer", "validator")
        _, validator = operated.key("validator", "validator")
        asked = operated.send(Calls.create_promotion("reviews", 2, policy="accuracy_low >= 0.9"), engineer)
        refused = refusal(lambda: operated.send(Calls.approve_promotion(asked.id), engineer))
        waiting = operated.send(Calls.get_promotion(asked.id))
        served = platform.deployment(DEPLOYMENT).deployment.version
        with Load(platform, DEPLOYMENT) as load:
            approved = operated.send(Calls.approve_promotion(asked.id, "the evidence is good"), validator)
            until(lambda: version_of_next_answer(platform) == 2, 30, "version 2 answers")
            load.go_on()
        platform.wait_for(DEPLOYMENT)

        assert (refused.status, refused.code) == (403, "four_eyes")
        assert (waiting.state, served) == (PromotionState.PENDING, 3)
        assert (approved.state, approved.decided_by) == (PromotionState.APPROVED, "key:validator")
        assert load.failed == []
        assert platform.records(action="promotion.approved")[-1].details["reason"] == "the evidence is good"

    def test_a_policy_that_is_not_met_refuses_and_says_why(self, operated: Operated) -> None:
        """The verdict names the condition and what was found."""
        asked = operated.send(Calls.create_promotion("reviews", 3, policy="accuracy_low >= 0.9 and n >= 100000"))

        assert asked.state is PromotionState.REFUSED
        assert "n >= 100000 (found {'n':" in asked.reason


class TestKeys:
    def test_a_new_key_works_at_once_and_a_revoked_one_no_more(self, operated: Operated) -> None:
        """A key opens what it was made for with the very next request, and nothing with the one after it is revoked."""
        platform, body = operated.platform, {"model": DEPLOYMENT, "input": "好"}
        key_id, key = operated.key("short-lived", "caller")
        first = platform.post(body, key=key)
        forbidden = refusal(lambda: operated.send(Calls.list_keys(), key))
        operated.send(Calls.revoke_key(key_id))
        last = platform.post(body, key=key)

        assert (first.status_code, last.status_code) == (200, 401)
        assert (forbidden.status, forbidden.code) == (403, "forbidden")
        assert refusal(lambda: operated.send(Calls.list_models(), key)).status == 401

    def test_a_key_opens_only_its_deployments(self, operated: Operated) -> None:
        """A key for another deployment does not open this one."""
        made = operated.send(Calls.create_key("elsewhere", deployments=["elsewhere"]))

        assert operated.platform.post({"model": DEPLOYMENT, "input": "好"}, key=made.key).status_code == 403


class TestWatching:
    def test_every_check_finds_everything_healthy(self, operated: Operated) -> None:
        """Leases, both processes, and a real prediction with a known answer: all are checked, all are well."""
        checks = {("deep", DEPLOYMENT), ("http", "gateway"), ("http", "control")}
        until(lambda: checks <= {(p.probe, p.target) for p in probes(operated)}, 20, "all were checked")
        found = probes(operated)

        assert [p for p in found if not p.is_healthy or p.message] == []
        assert {p.probe for p in found} == {"ping", "http", "deep"}

    def test_an_alert_is_told_when_a_replica_is_missing_and_again_when_it_is_over(self, operated: Operated) -> None:
        """The webhook hears that no replica is ready, signed, and hears later that all is well again."""
        platform, receiver = operated.platform, operated.receiver
        channel = operated.send(Calls.create_channel("duty", receiver.url))
        rule = operated.send(
            Calls.create_alert_rule(
                "no replica",
                series="replicas_ready",
                deployment=DEPLOYMENT,
                comparison="below",
                threshold=1,
                channel_id=channel.id,
                severity="critical",
            )
        )
        took = until(lambda: kill_replicas(platform) and told(receiver) != [], 60, "the webhook heard of it")
        until(lambda: told(receiver)[-1]["resolved_at"] is not None, 60, "the webhook heard that it is over")
        operated.send(Calls.delete_alert_rule(rule.id))
        platform.wait_for(DEPLOYMENT)
        kept = operated.send(Calls.list_alerts()).data

        measured("the alert is told after", took)
        assert told(receiver)[0]["rule"] == "no replica"
        assert all("webhook-signature" in received.headers for received in receiver.received)
        assert [alert.resolved_at is not None for alert in kept] == [True] * len(kept)
        assert kept[-1].notified_at is not None

    def test_a_webhook_to_anywhere_else_is_refused(self, operated: Operated) -> None:
        """Only hosts on the allow-list can be told: the cloud's metadata address is none of them."""
        refused = refusal(lambda: operated.send(Calls.create_channel("spy", "http://169.254.169.254/latest")))

        assert refused.status in {400, 403}


class TestTasks:
    def test_a_task_waits_for_its_time(self, operated: Operated) -> None:
        """A task asked for later is queued until then, and is done after."""
        run_at = datetime.now(UTC) + timedelta(seconds=2)
        task = operated.send(Calls.create_task("evaluate", EVALUATION, run_at=run_at))
        with operated.platform.control() as client:
            done = client.wait_for_task(task.id)

        assert task.state is TaskState.QUEUED
        assert done.state is TaskState.SUCCEEDED
        assert done.started_at is not None
        assert done.started_at >= run_at

    def test_a_queued_task_can_be_cancelled_and_tried_again(self, operated: Operated) -> None:
        """Cancelled before its time it does not run; tried again it does."""
        run_at = datetime.now(UTC) + timedelta(hours=1)
        task = operated.send(Calls.create_task("evaluate", EVALUATION, run_at=run_at))
        cancelled = operated.send(Calls.cancel_task(task.id))
        operated.send(Calls.retry_task(task.id))
        with operated.platform.control() as client:
            done = client.wait_for_task(task.id)

        assert cancelled.state is TaskState.CANCELLED
        assert (done.state, done.attempt) == (TaskState.SUCCEEDED, 1)

    def test_a_task_asked_for_twice_is_made_once(self, operated: Operated) -> None:
        """The same idempotency key gives the same task, whatever became of the first answer."""
        calls = [Calls.create_task("evaluate", EVALUATION, idempotency_key="nightly") for _ in range(2)]
        first, again = (operated.send(call) for call in calls)

        assert first.id == again.id


class TestScaling:
    @pytest.mark.slow
    @pytest.mark.timeout(240)
    def test_load_brings_a_second_replica_and_calm_takes_it_away(self, operated: Operated) -> None:
        """Under load a replica is added at once; thirty seconds after the load it goes, and no request fails of it."""
        platform = operated.platform
        operated.send(Calls.configure(DEPLOYMENT, {"max_replicas": 2, "target_concurrency": 4, "queue_limit": 4096}))
        with Load(platform, DEPLOYMENT, per_second=20, texts=200) as load:
            up = until(lambda: len(platform.replicas(DEPLOYMENT)) == 2, 60, "a second replica serves")
        down = until(lambda: len(platform.replicas(DEPLOYMENT)) == 1, 90, "the second replica left")
        scaled = [record.details["replicas"] for record in platform.records(action="deployment.scaled")]

        measured("a second replica serves after", up)
        measured("it leaves after", down)
        assert load.failed == []
        assert scaled == [2, 1]
        assert down > 20


class TestSchedule:
    @pytest.mark.timeout(180)
    def test_a_schedule_makes_its_task_when_it_is_time(self, operated: Operated) -> None:
        """The schedule that was made before these tests has made a task by its cron line, once a minute."""
        until(lambda: scheduled(operated) != [], 90, "the schedule made a task")
        operated.send(Calls.delete_schedule(operated.schedule.id))
        with operated.platform.control() as client:
            done = client.wait_for_task(scheduled(operated)[0].id)

        assert done.state is TaskState.SUCCEEDED
        assert done.created_at >= operated.schedule.next_run_at


class TestTampering:
    def test_a_changed_byte_of_the_ledger_is_found_and_named(self, own: RunningPlatform) -> None:
        """One byte of a record changed while nothing runs: `hanlin audit verify` fails and names log and record."""
        intact = own.run("audit", "verify")
        segment = next((own.layout.ledger / "control").glob("*.log"))
        content = bytearray(segment.read_bytes())
        content[content.index(b"task.created") + 3] ^= 1
        segment.write_bytes(content)
        verdict = next(log for log in own.verdict().logs if not log.is_intact)
        found = own.run("audit", "verify")

        assert intact.returncode == 0, intact.stderr
        assert found.returncode == 1
        assert "ledger_not_intact" in found.stderr
        assert f"log control, record {verdict.first_bad_index}:" in found.stderr

    def test_a_changed_model_is_not_served(self, own: RunningPlatform) -> None:
        """A version whose file was changed is promoted: the old one goes on, and the status names the file."""
        own.settings = SELF_APPROVAL
        own.start()
        own.deploy(DEPLOYMENT, max_replicas=1)
        with own.control() as client:
            digest = client.send(Calls.get_version("reviews", 2)).version.digest
            model = own.layout.artifacts / digest.removeprefix("sha256:") / "model.onnx"
            content = bytearray(model.read_bytes())
            content[len(content) // 2] ^= 1
            model.write_bytes(content)
            with Load(own, DEPLOYMENT) as load:
                task = client.send(Calls.create_task("publish", {"model": "reviews", "version": 2, "policy": "n >= 1"}))
                client.wait_for_task(task.id)
                until(lambda: "model.onnx" in own.deployment(DEPLOYMENT).message, 20, "the status names the file")
                load.go_on()

        assert load.failed == []
        assert own.deployment(DEPLOYMENT).deployment.version == 3
        assert version_of_next_answer(own) == 3


def release_of_next_answer(platform: RunningPlatform) -> object:
    """Ask once and return the release that the answer's record names."""
    reply = platform.post({"model": DEPLOYMENT, "input": "好"})
    return platform.records(request_id=reply.headers["X-Request-Id"])[0].details["release"]


def version_of_next_answer(platform: RunningPlatform) -> int:
    """Ask once and return the version that answered."""
    return int(platform.post({"model": DEPLOYMENT, "input": "好"}).headers["X-Model-Version"])


def replaced(platform: RunningPlatform, before: set[int]) -> bool:
    """Whether other processes serve, and all of those of before are gone."""
    now = platform.deployment(DEPLOYMENT)
    return now.state == "ready" and not before & {replica.pid for replica in now.replicas}


def restarts(platform: RunningPlatform) -> float:
    """Return how often replicas of the deployment were started again."""
    return platform.deployment(DEPLOYMENT).figures.get("replica_restarts", 0)


def replica_processes(platform: RunningPlatform) -> int:
    """Return how many processes of replicas there are."""
    return sum("--placement" in child.cmdline() for child in platform.children())


def probes(operated: Operated) -> list[Any]:
    """Return the latest results of all checks."""
    found: list[Any] = operated.send(Calls.list_probes()).data
    return found


def kill_replicas(platform: RunningPlatform) -> bool:
    """Kill whatever replica is ready and has not been killed yet."""
    for pid in {child.pid for child in platform.children()} & set(platform.replicas(DEPLOYMENT).values()):
        kill(pid)
    return True


def told(receiver: Receiver) -> list[dict[str, Any]]:
    """Return what the webhook heard, oldest first."""
    return [alert for received in receiver.received for alert in received.alerts]


def scheduled(operated: Operated) -> list[Any]:
    """Return the tasks that the schedule made."""
    tasks = operated.send(Calls.list_tasks(kind="evaluate")).data
    return [task for task in tasks if task.schedule_id == operated.schedule.id]
