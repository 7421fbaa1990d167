"""A whole platform as a user has it: `hanlin up` in a process of its own, reached by SDK, command line and HTTP."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import psutil

from hanlin.audit import LedgerKeys, Query, Record, VerifyReport, iter_records, verify
from hanlin.domain import PlatformError, Task
from hanlin.sdk import Calls, Client
from hanlin.settings import Layout
from hanlin.wire.admin import DeploymentReply

T = TypeVar("T")
HANLIN = (sys.executable, "-c", "from hanlin.cli import main; main()")
PR_SET_PDEATHSIG = 1
ROLES = ("control", "gateway", "worker")


@dataclass
class RunningPlatform:
    """One data folder and the `hanlin up` on it; everything that it started ends with it."""

    data: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    supervisor: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # life

    def start(self) -> Self:
        """Run `hanlin up` and wait until it says that everything is ready."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        with (self.data.parent / f"{self.data.name}.out").open("ab") as out:
            self.supervisor = subprocess.Popen(
                [*HANLIN, "--data", str(self.data), "up"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=_die_with_the_tests,  # noqa: PLW1509 - one call into libc, and nothing outlives the tests
            )
        until(self._has_come_up, 60, "the platform is up")
        self.addresses: dict[str, Any] = json.loads(self.layout.state.read_bytes())
        return self

    def stop(self) -> None:
        """End it as Ctrl-C does, and wait until all of it is gone. Idempotent."""
        if self.supervisor is not None and self.supervisor.poll() is None:
            children = self.children()
            self.supervisor.send_signal(signal.SIGINT)
            self.supervisor.wait(40)
            _, alive = psutil.wait_procs(children, 5)
            assert not alive, f"left behind: {alive}"
        self.supervisor = None

    def kill(self) -> list[psutil.Process]:
        """End the supervisor with SIGKILL and return the processes that it had started."""
        assert self.supervisor is not None
        children = self.children()
        self.supervisor.kill()
        self.supervisor.wait()
        self.supervisor = None
        return children

    def children(self) -> list[psutil.Process]:
        """Return all processes below the supervisor."""
        assert self.supervisor is not None
        return psutil.Process(self.supervisor.pid).children(recursive=True)

    def wait_until_ready(self, seconds: float = 20) -> float:
        """Wait until control and gateway say that they are ready; return how many seconds it took."""
        urls = [self.addresses[name] for name in ("control", "gateway")]
        return until(lambda: all(map(_is_ready, urls)), seconds, "control and gateway are ready")

    def pid_of(self, role: str) -> int:
        """Return the process id of ``control``, ``gateway``, ``worker`` or ``job``; 0 while there is none."""
        for child in self.children():
            try:
                words = child.cmdline()
            except psutil.Error:
                continue
            if words[1:4] == ["-m", "hanlin.compose", role]:
                return child.pid
        return 0

    def _has_come_up(self) -> bool:
        assert self.supervisor is not None
        assert self.supervisor.poll() is None, self.output()
        if not self.layout.state.is_file() or not (written := self.layout.state.read_bytes()):
            return False
        found = json.loads(written)
        return found["pid"] == self.supervisor.pid and all(_is_ready(found[name]) for name in ("control", "gateway"))

    # ways in

    @property
    def layout(self) -> Layout:
        """Where things lie."""
        return Layout(self.data.resolve())

    @property
    def environment(self) -> dict[str, str]:
        """What its processes see: free ports, one thread for long work, English."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith("HANLIN_")}
        ports = {"HANLIN_GATEWAY__PORT": "0", "HANLIN_CONTROL__PORT": "0"}
        modest = {"HANLIN_WORKER__THREADS": "1", "OMP_NUM_THREADS": "1", "HANLIN_LANGUAGE": "en"}
        return {**mine, **ports, **modest, **self.settings}

    @property
    def key(self) -> str:
        """The key of the command line, which may do everything."""
        return (self.layout.secrets / "cli_key").read_text(encoding="ascii")

    def control(self, key: str | None = None) -> Client:
        """Return a client of the management API."""
        return Client(self.addresses["control"], self.key if key is None else key)

    def gateway(self, key: str | None = None) -> Client:
        """Return a client of the prediction API."""
        return Client(self.addresses["gateway"], self.key if key is None else key)

    def post(self, body: object, *, key: str | None = None, path: str = "/v1/classify") -> httpx.Response:
        """Send *body* (text and bytes as they are, the rest as JSON) to the gateway without the SDK."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if key != "":
            headers["Authorization"] = f"Bearer {key or self.key}"
        url = self.addresses["gateway"] + path
        return httpx.post(url, content=raw, headers=headers, timeout=20, trust_env=False)

    def run(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one command of the command line on this data folder."""
        return subprocess.run(
            [*HANLIN, "--data", str(self.data), *words],
            env={**self.environment, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def json(self, *words: str) -> Any:
        """Run one command that has to succeed with --json and return what it printed."""
        done = self.run("--json", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout[done.stdout.index("{") if "{" in done.stdout else 0 :])

    def output(self) -> str:
        """Return what `hanlin up` printed so far."""
        return (self.data.parent / f"{self.data.name}.out").read_text(encoding="utf-8", errors="replace")

    # work

    def do(self, kind: str, params: Mapping[str, Any], *, max_attempts: int = 3) -> Task:
        """Have a task done and return it once it is over."""
        with self.control() as client:
            task = client.send(Calls.create_task(kind, params, max_attempts=max_attempts))
            return client.wait_for_task(task.id)

    def task(self, task_id: str) -> Task:
        """Return a task as it is now."""
        with self.control() as client:
            return client.send(Calls.get_task(task_id))

    def deployment(self, name: str) -> DeploymentReply:
        """Return a deployment as it is now."""
        with self.control() as client:
            return client.send(Calls.get_deployment(name))

    def replicas(self, name: str) -> dict[str, int]:
        """Return the process ids of the ready replicas of a deployment, by replica."""
        return {str(r.id): r.pid for r in self.deployment(name).replicas if r.state == "ready"}

    def deploy(self, name: str, model: str = "reviews", **config: int) -> None:
        """Create a deployment and wait until it serves as it is wanted."""
        with self.control() as client:
            client.send(Calls.create_deployment(name, model, config=config))
        self.wait_for(name)

    def wait_for(self, name: str, state: str = "ready", seconds: float = 30) -> None:
        """Wait until a deployment is in *state*."""
        until(lambda: self.deployment(name).state == state, seconds, f"{name} is {state}")

    # the ledger

    def records(self, **filters: Any) -> list[Record]:
        """Return the records that match, read from the data folder itself."""
        return list(iter_records(self.layout.ledger, Query(**filters)))

    def verdict(self) -> VerifyReport:
        """Recompute the whole ledger from the data folder's bytes."""
        return verify(self.layout.ledger, LedgerKeys.load(self.layout.secrets))


def until(is_true: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for a condition, looking again and again; return how many seconds it took, fail when it does not come."""
    begun = time.monotonic()
    while not is_true():
        assert time.monotonic() - begun < seconds, f"not after {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - begun


def refusal(of: Callable[[], object]) -> PlatformError:
    """Return the error that a call ends with."""
    try:
        of()
    except PlatformError as error:
        return error
    raise AssertionError("it was not refused")


def kill(pid: int) -> None:
    """End a process with SIGKILL."""
    assert pid > 1
    os.kill(pid, signal.SIGKILL)


def measured(what: str, seconds: float) -> None:
    """Show a figure to whoever runs the tests with -s or -rP."""
    sys.stdout.write(f"{what} {seconds:.2f} s\n")


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _die_with_the_tests() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
