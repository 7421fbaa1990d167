"""Whatever is killed comes back, and nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import psutil
import pytest
from tests.e2e.conftest import DEPLOYMENT, Published
from tests.e2e.journey import RECIPE
from tests.e2e.load import Load
from tests.e2e.running import ROLES, RunningPlatform, kill, measured, until

from hanlin.domain import Task, TaskState
from hanlin.sdk import Calls

CHECKPOINTS = {"HANLIN_WORKER__CHECKPOINT_S": "0.5"}


@pytest.fixture(scope="module")
def survivor(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """A platform that serves with two replicas, of which every process is killed in turn."""
    with published.copy(tmp_path_factory.mktemp("survivor") / "data", CHECKPOINTS) as platform:
        platform.deploy(DEPLOYMENT, min_replicas=2, max_replicas=2)
        yield platform


def assert_nothing_lost(load: Load, platform: RunningPlatform) -> None:
    """Fail unless every answer is on record, once, and the ledger is what was written."""
    recorded = [record.request_id for record in platform.records(kind="prediction", status=200)]
    ours = [request_id for request_id in recorded if request_id in load.acknowledged]

    assert load.acknowledged - set(recorded) == set()
    assert len(ours) == len(set(ours))
    assert platform.verdict().is_intact


class TestControl:
    def test_predictions_go_on_without_it_and_it_comes_back(self, survivor: RunningPlatform) -> None:
        """Control killed: no request fails, it is back with what it knew, and the replicas are the same."""
        before, replicas = survivor.pid_of("control"), survivor.replicas(DEPLOYMENT)
        with Load(survivor, DEPLOYMENT) as load:
            kill(before)
            load.go_on()
            until(lambda: survivor.pid_of("control") not in {0, before}, 15, "a new control")
            took = survivor.wait_until_ready()
            load.go_on()
        survivor.wait_for(DEPLOYMENT)

        measured("control is ready again after", took)
        assert load.failed == []
        assert survivor.replicas(DEPLOYMENT) == replicas
        assert_nothing_lost(load, survivor)

    def test_predictions_go_on_while_it_cannot_start(self, survivor: RunningPlatform) -> None:
        """Control killed again and again, as if it could not start: the last good snapshot stays in force."""
        with Load(survivor, DEPLOYMENT) as load:
            for _ in range(3):
                until(lambda: survivor.pid_of("control") != 0, 15, "control is tried again")
                kill(survivor.pid_of("control"))
                load.go_on()
            survivor.wait_until_ready()

        assert load.failed == []
        assert_nothing_lost(load, survivor)


class TestGateway:
    def test_it_comes_back_and_no_acknowledged_record_is_lost(self, survivor: RunningPlatform) -> None:
        """
        The gateway killed under load, three times: only connections break, nobody gets a wrong answer, and every
        request that was answered is in the ledger.
        """
        took = []
        with Load(survivor, DEPLOYMENT, per_second=60) as load:
            for _ in range(3):
                kill(survivor.pid_of("gateway"))
                took.append(load.go_on(1))
                load.go_on()
        survivor.wait_for(DEPLOYMENT)

        measured("the gateway answers again after", max(took))
        assert {answer.status for answer in load.failed} <= {0}
        assert_nothing_lost(load, survivor)


class TestReplicas:
    def test_one_dies_and_no_request_fails(self, survivor: RunningPlatform) -> None:
        """Each replica killed in turn: the other one takes over what it had, and it is back after its start time."""
        with Load(survivor, DEPLOYMENT, per_second=60) as load:
            for name, pid in survivor.replicas(DEPLOYMENT).items():
                kill(pid)
                took = back_after(survivor, name, pid)
                start_s = next(r.start_s for r in survivor.deployment(DEPLOYMENT).replicas if r.id == name)
                measured(f"the replica is back (it starts in {start_s:.2f} s) after", took)
                assert took < 3 * (start_s + 1)
                load.go_on()

        assert load.failed == []
        assert_nothing_lost(load, survivor)

    def test_one_hangs_and_another_takes_its_place(self, survivor: RunningPlatform) -> None:
        """A replica that is stopped in its tracks: what it had is done by the other one, and a new one is started."""
        name, pid = next(iter(survivor.replicas(DEPLOYMENT).items()))
        with Load(survivor, DEPLOYMENT) as load:
            os.kill(pid, signal.SIGSTOP)
            noticed = until(lambda: name not in survivor.replicas(DEPLOYMENT), 10, "its silence is noticed")
            until(lambda: len(survivor.replicas(DEPLOYMENT)) == 2, 20, "a new one serves")
            load.go_on()
        until(lambda: not psutil.pid_exists(pid), 30, "it is ended")

        measured("a replica that hangs is given up after", noticed)
        assert load.failed == []
        assert_nothing_lost(load, survivor)

    def test_both_die_and_requests_wait_for_them(self, survivor: RunningPlatform) -> None:
        """With no replica left requests wait, within their deadline, for the first one to be back."""
        with Load(survivor, DEPLOYMENT) as load:
            for pid in survivor.replicas(DEPLOYMENT).values():
                kill(pid)
            load.go_on(60)
        survivor.wait_for(DEPLOYMENT)

        assert load.failed == []
        assert_nothing_lost(load, survivor)


class TestWork:
    def test_a_run_outlives_its_process_and_then_its_worker(self, survivor: RunningPlatform) -> None:
        """
        The process of a training run killed: the next attempt goes on from the checkpoint. Then the worker killed: its
        job ends with it, a new worker goes on. The task succeeds, and exactly one version comes of it.
        """
        task = start_training(survivor, "resumed", epochs=10.0)
        kill(survivor.pid_of("job"))
        until(lambda: len(resumptions(survivor, task)) == 1, 60, "the second attempt went on")
        worker, job = survivor.pid_of("worker"), survivor.pid_of("job")
        kill(worker)
        until(lambda: not psutil.pid_exists(job), 5, "the job is gone")
        until(lambda: survivor.pid_of("worker") not in {0, worker}, 15, "a new worker")
        done = finished(survivor, task)
        with survivor.control() as client:
            versions = client.send(Calls.get_model("resumed")).versions

        assert (done.state, done.attempt) == (TaskState.SUCCEEDED, 3)
        assert [step > 0 for step in resumptions(survivor, task)] == [True, True]
        assert len(versions) == 1


class TestSupervisor:
    def test_all_end_with_it_and_the_next_start_serves_at_once(self, survivor: RunningPlatform) -> None:
        """
        The supervisor killed under load: all of its processes are gone within five seconds, and the next
        `hanlin up` serves the same version with the same configuration, without anybody deploying it again.
        """
        before = survivor.deployment(DEPLOYMENT).deployment
        with Load(survivor, DEPLOYMENT) as load:
            load.go_on()
            children = survivor.kill()
            killed_at = time.monotonic()
            gone, alive = psutil.wait_procs(children, 5)
            measured("all are gone with the supervisor after", time.monotonic() - killed_at)
        survivor.start()
        survivor.wait_for(DEPLOYMENT)
        reply = survivor.post({"model": DEPLOYMENT, "input": "好棒"})

        assert len(gone) >= len(ROLES) + 2
        assert alive == []
        assert reply.status_code == 200
        assert survivor.deployment(DEPLOYMENT).deployment == before
        assert len(survivor.replicas(DEPLOYMENT)) == 2
        assert_nothing_lost(load, survivor)

    def test_a_stop_leaves_nothing_to_recover_and_work_goes_on_after(self, survivor: RunningPlatform) -> None:
        """
        After Ctrl-C in the middle of a run every log is signed to its end, the databases are closed, and no process
        is left; the next start goes on with the run, and that counts as the same attempt.
        """
        task = start_training(survivor, "paused", epochs=5.0)
        survivor.stop()
        logs = survivor.verdict().logs
        left = sorted(path.name for path in survivor.data.iterdir() if path.name.endswith("-wal"))
        survivor.start()
        done = finished(survivor, task)

        assert [(log.writer, log.size) for log in logs] == [(log.writer, log.signed_size) for log in logs]
        assert left == []
        assert (done.state, done.attempt, len(resumptions(survivor, task))) == (TaskState.SUCCEEDED, 1, 1)


def back_after(platform: RunningPlatform, replica: str, pid: int) -> float:
    """Wait until a replica is ready in another process; return how many seconds it took."""
    return until(lambda: platform.replicas(DEPLOYMENT).get(replica, pid) != pid, 20, f"{replica} is back")


def start_training(platform: RunningPlatform, model: str, *, epochs: float) -> Task:
    """Start a run and return it once it has a checkpoint to go on from."""
    with platform.control() as client:
        base = next(base.name for base in client.send(Calls.list_bases()).data if base.pulled is not None)
        params = {"model": model, "corpus": "reviews", "base": base, "recipe": {**RECIPE, "epochs": epochs}}
        task = client.send(Calls.create_task("train", params))
    state = platform.layout.tasks / task.id / "work" / "run" / "checkpoint" / "state.json"
    until(lambda: state.is_file() and json.loads(state.read_bytes())["step"] > 0, 60, "a checkpoint")
    return task


def finished(platform: RunningPlatform, task: Task) -> Task:
    """Wait until a task is over."""
    with platform.control() as client:
        return client.wait_for_task(task.id)


def resumptions(platform: RunningPlatform, task: Task) -> list[int]:
    """Return the steps that attempts of a run went on from."""
    with platform.control() as client:
        lines = client.send(Calls.get_task_log(task.id)).lines
    return [line.fields["step"] for line in lines if line.message == "resumed from checkpoint"]
