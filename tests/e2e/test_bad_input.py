"""
Twelve things that go wrong in every installation, and what Hanlin says about each.

missing file · empty corpus · one label · wrong encoding · full disk · taken port · wrong key · unknown model ·
too long a text · malformed JSON · killed training · second `hanlin up`

Each error has a stable code, says what was found, hints at what would be right, and nothing is lost by it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import DEPLOYMENT, Published
from tests.e2e.journey import RECIPE, write_corpus
from tests.e2e.running import ROLES, RunningPlatform, kill, until

from hanlin.domain import PlatformError, Task, TaskState
from hanlin.sdk import Calls, Client

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Complaint:
    """What a user is told: code, message, hint; and the HTTP status or exit status it comes with."""

    status: int
    code: str
    message: str
    hint: str


def of_command(platform: RunningPlatform, *words: str) -> Complaint:
    """Run a command that has to fail and read what it says: one line and a hint, never a traceback."""
    done = platform.run(*words)
    first, _, second = done.stderr.strip().rpartition("\n")
    head, _, message = first.rpartition("\n")[2].partition("]: ")
    assert "Traceback" not in done.stderr
    return Complaint(done.returncode, head.removeprefix("error ["), message, second.removeprefix("hint: "))


def of_task(platform: RunningPlatform, kind: str, **params: Any) -> Complaint:
    """Have a task done that has to fail and read its error."""
    return told(platform.do(kind, params, max_attempts=1))


def told(task: Task) -> Complaint:
    """Read the error of a failed task."""
    assert task.state is TaskState.FAILED
    error = task.error or {}
    return Complaint(0, error["code"], error["message"], error["hint"])


def of_request(platform: RunningPlatform, body: object, **options: Any) -> Complaint:
    """
    Send a request to the gateway that has to be refused and read its answer.

    OpenAI's shape has no other place for the hint than the end of the message, in brackets.
    """
    reply = platform.post(body, **options)
    error = reply.json()["error"]
    message, _, hint = error["message"].partition(" (")
    return Complaint(reply.status_code, error["code"], message, hint.removesuffix(")"))


def upload(platform: RunningPlatform, content: bytes, name: str = "my.jsonl") -> str:
    """Send a file."""
    with platform.control() as client:
        return client.send(Calls.upload(name, content)).upload


def rows(*labels: str | None) -> bytes:
    """Return reviews with these labels, as jsonl."""
    lines = [json.dumps({"text": f"第{n}条评论", "label": label}) for n, label in enumerate(labels)]
    return "\n".join(lines).encode()


def missing_file(platform: RunningPlatform) -> Complaint:
    """A file that is not there."""
    return of_command(platform, "corpus", "import", "mine", "/nowhere/reviews.jsonl")


def empty_corpus(platform: RunningPlatform) -> Complaint:
    """A file without a line."""
    return of_task(platform, "import", corpus="mine", upload=upload(platform, b""))


def one_label(platform: RunningPlatform) -> Complaint:
    """A corpus in which all say the same."""
    return of_task(platform, "import", corpus="mine", upload=upload(platform, rows(*["正面"] * 60)))


def wrong_encoding(platform: RunningPlatform) -> Complaint:
    """A file in Latin-1."""
    text = "\n".join(f"Le café n° {number} était très mauvais" for number in range(60))
    sent = upload(platform, text.encode("latin-1"), "my.txt")
    return of_task(platform, "import", corpus="mine", upload=sent, source_note="my.txt")


def taken_port(platform: RunningPlatform) -> Complaint:
    """Another program listens where the gateway should."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        settings = {**platform.settings, "HANLIN_GATEWAY__PORT": port}
        second = RunningPlatform(platform.data.parent / "second", settings)
        said = of_command(second, "up")
    assert f"port {port} on 127.0.0.1" in said.message
    return said


def second_up(platform: RunningPlatform) -> Complaint:
    """A platform that runs already."""
    return of_command(platform, "up")


def wrong_key(platform: RunningPlatform) -> Complaint:
    """A key that nobody made."""
    return of_request(platform, {"model": DEPLOYMENT, "input": "好"}, key="hl_abcdefgh_" + "k" * 43)


def unknown_model(platform: RunningPlatform) -> Complaint:
    """A deployment that does not exist."""
    return of_request(platform, {"model": "nobody", "input": "好"})


def too_long_a_text(platform: RunningPlatform) -> Complaint:
    """More tokens than the model takes."""
    return of_request(platform, {"model": DEPLOYMENT, "input": "好" * 63})


def malformed_json(platform: RunningPlatform) -> Complaint:
    """Half a document."""
    return of_request(platform, b'{"model": "reviews", "input": "')


Cause = Callable[[RunningPlatform], Complaint]
CASES: list[tuple[Cause, int, str, str, str]] = [
    (missing_file, 1, "corpus_file_missing", "there is no file /nowhere/reviews.jsonl", "check the path"),
    (empty_corpus, 0, "corpus_empty", "there is no text in 0 rows", "one text per row"),
    (one_label, 0, "corpus_single_label", "all 60 texts carry the one label '正面'", "at least two labels"),
    (
        wrong_encoding,
        0,
        "corpus_encoding_unknown",
        "my.txt is neither UTF-8 nor GB 18030: byte 6 (0xe9)",
        "save the file as UTF-8",
    ),
    (taken_port, 1, "port_taken", "is taken", "HANLIN_GATEWAY__PORT"),
    (second_up, 1, "already_running", "is running on", "--data"),
    (wrong_key, 401, "invalid_api_key", "the key is not known", "ask for a new one"),
    (unknown_model, 404, "model_not_found", "there is no deployment 'nobody'", "GET /v1/models"),
    (too_long_a_text, 413, "text_too_long", "text 0 has 65 tokens, the model takes 64", '"truncate": true'),
    (malformed_json, 400, "malformed_json", "the body is not valid JSON", "send UTF-8 JSON"),
]


@pytest.mark.parametrize(("cause", "status", "code", "message", "hint"), CASES, ids=[c[0].__name__ for c in CASES])
def test_says_what_was_found_and_what_would_be_right(
    shared: RunningPlatform, cause: Cause, status: int, code: str, message: str, hint: str
) -> None:
    """The complaint carries the stable code, the finding and the way out; the platform goes on as it was."""
    before = what_there_is(shared)
    said = cause(shared)

    assert (said.status, said.code) == (status, code)
    assert message in said.message
    assert hint in said.hint
    assert what_there_is(shared) == before
    assert shared.post({"model": DEPLOYMENT, "input": "好"}).status_code == 200


def what_there_is(platform: RunningPlatform) -> tuple[Any, ...]:
    """Return everything that a mishap could have changed."""
    with platform.control() as client:
        corpora = [(c.name, c.versions) for c in client.send(Calls.list_corpora()).data]
        models = [(m.model.name, len(m.versions)) for m in client.send(Calls.list_models()).data]
    return corpora, models, platform.replicas(DEPLOYMENT), platform.verdict().is_intact


class TestKilledTraining:
    def test_it_says_so_and_a_retry_succeeds(self, shared: RunningPlatform) -> None:
        """A run whose process was killed fails with job_crashed, its log stays, and it can be tried again."""
        params = {"model": "retried", "corpus": "reviews", "base": base_of(shared), "recipe": RECIPE}
        with shared.control() as client:
            task = client.send(Calls.create_task("train", params, max_attempts=1))
            until(lambda: "train_loss" in series_of(client, task), 60, "it trains")
            kill(shared.pid_of("job"))
            failed = client.wait_for_task(task.id)
            said = told(failed)
            client.send(Calls.retry_task(task.id))
            again = client.wait_for_task(task.id)
            log = [line.message for line in client.send(Calls.get_task_log(task.id)).lines]

        assert said.code == "job_crashed"
        assert "was killed (SIGKILL)" in said.message
        assert "retry" in said.hint
        assert again.state is TaskState.SUCCEEDED
        assert log.count("attempt started") == 2


class TestFullDisk:
    @pytest.fixture
    def small(self, published: Published, tmp_path: Path) -> Iterator[RunningPlatform]:
        """A platform that serves from a disk of 40 MB."""
        if os.geteuid() != 0:
            pytest.skip("mounting a small disk takes root")
        disk = tmp_path / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)], check=False).returncode:
            pytest.skip("no file system may be mounted here")
        try:
            with published.copy(disk / "data") as platform:
                platform.deploy(DEPLOYMENT, max_replicas=1)
                yield platform
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)

    def test_nothing_is_answered_that_is_not_on_record_and_it_goes_on_by_itself(self, small: RunningPlatform) -> None:
        """Without room predictions are refused with storage_full; with room again they come, and all is whole."""
        pids = {role: small.pid_of(role) for role in ROLES}
        ballast = fill(small.data)
        until(lambda: small.post({"model": DEPLOYMENT, "input": "好"}).status_code != 200, 60, "the ledger is full")
        said = of_request(small, {"model": DEPLOYMENT, "input": "好"})
        with small.control() as client:
            change = refused(client, Calls.create_key("one more"))
        ballast.unlink()
        until(lambda: small.post({"model": DEPLOYMENT, "input": "好"}).status_code == 200, 30, "it answers again")
        until(lambda: small.run("keys", "create", "one more").returncode == 0, 30, "changes are taken again")

        assert (said.status, said.code) == (507, "storage_full")
        assert "free" in said.hint
        assert (change.status, change.code) == (507, "storage_full")
        assert {role: small.pid_of(role) for role in pids} == pids
        assert [record.details["cause"] for record in small.records(action="ledger.resumed")] != []
        assert small.verdict().is_intact

    def test_a_run_that_finds_the_disk_full_says_so_and_can_be_retried(self, small: RunningPlatform) -> None:
        """
        A run that cannot keep its model ends with storage_full, even when at first there was no room to write that
        down; no process dies of it, and the retry succeeds.
        """
        pids = {role: small.pid_of(role) for role in ROLES}
        params = {"model": "retried", "corpus": "reviews", "base": base_of(small), "recipe": RECIPE}
        with small.control() as client:
            task = client.send(Calls.create_task("train", params))
            until(lambda: "train_loss" in series_of(client, task), 60, "it trains")
            ballast = fill(small.data)
            until(lambda: not small.pid_of("job"), 60, "its process ended")
            ballast.unlink()
            failed = client.wait_for_task(task.id)
            client.send(Calls.retry_task(task.id))
            again = client.wait_for_task(task.id)

        assert told(failed).code == "storage_full"
        assert (failed.attempt, again.attempt, again.state) == (1, 1, TaskState.SUCCEEDED)
        assert {role: small.pid_of(role) for role in ROLES} == pids

    def test_an_import_that_finds_the_disk_full_says_so_and_can_be_retried(self, small: RunningPlatform) -> None:
        """An import without room ends with storage_full and leaves nothing behind; with room its retry succeeds."""
        content = write_corpus(small.data.parent / "many.jsonl", 30_000).read_bytes()
        (small.data.parent / "many.jsonl").unlink()
        name = upload(small, content)
        ballast = fill(small.data, leave=len(content) // 2 + MEGABYTE)
        failed = small.do("import", {"corpus": "many", "upload": name}, max_attempts=1)
        said = told(failed)
        ballast.unlink()
        with small.control() as client:
            client.send(Calls.retry_task(failed.id))
            again = client.wait_for_task(failed.id)

        assert said.code == "storage_full"
        assert "room" in said.message or "full" in said.message
        assert "free" in said.hint
        assert again.state is TaskState.SUCCEEDED
        assert small.verdict().is_intact


def refused(client: Client, call: Any) -> PlatformError:
    """Send a call that has to be refused."""
    try:
        client.send(call)
    except PlatformError as error:
        return error
    raise AssertionError("it was taken")


def fill(folder: Path, leave: int = 0) -> Path:
    """
    Write a file that leaves *leave* bytes of room on the disk that *folder* is on; return it.

    Others write there too: where the room has shrunk since it was asked for, it is asked for again.
    """
    path = folder.parent / "ballast"
    with path.open("wb", buffering=0) as file:
        for _ in range(100):
            room = os.statvfs(folder)
            try:
                os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - leave)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            else:
                return path
    raise AssertionError("the disk never held still")


def base_of(platform: RunningPlatform) -> str:
    """Return the name of the base that was pulled."""
    with platform.control() as client:
        return next(base.name for base in client.send(Calls.list_bases()).data if base.pulled is not None)


def series_of(client: Client, task: Task) -> dict[str, Any]:
    """Return the curves of a run so far."""
    return dict(client.send(Calls.get_task_series(task.id)).series)
