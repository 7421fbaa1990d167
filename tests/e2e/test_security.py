"""What an intruder would try first: open ports, readable files, used tokens, and what was said in confidence."""

from __future__ import annotations

import ipaddress
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.conftest import DEPLOYMENT, Published
from tests.e2e.running import RunningPlatform, refusal, until

from hanlin.sdk import Calls

LISTENS = "0A"
ID_CARD, BANK_CARD, PHONE = "11010519491231002X", "6222021234567890128", "13912345678"
CONFIDED = f"我的身份证是{ID_CARD}，卡号{BANK_CARD}，电话{PHONE}，服务太差"


@pytest.fixture(scope="module")
def guarded(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """A platform in a folder that somebody had made, open to all users of the machine, before Hanlin came."""
    data = tmp_path_factory.mktemp("guarded") / "data"
    platform = published.copy(data)
    for path in [data, *data.iterdir()]:
        path.chmod(0o755 if path.is_dir() else path.stat().st_mode)
    with platform:
        platform.deploy(DEPLOYMENT, max_replicas=1)
        yield platform


class TestPorts:
    def test_only_two_ports_are_open_and_only_to_this_machine(self, guarded: RunningPlatform) -> None:
        """All processes together listen on the gateway's and on control's port, on loopback, and nowhere else."""
        wanted = {httpx.URL(guarded.addresses[name]).port for name in ("gateway", "control")}
        found = listening(guarded)

        assert {port for _, port in found} == wanted
        assert {address for address, _ in found} == {"127.0.0.1"}

    def test_other_processes_are_reached_through_sockets_of_the_owner(self, guarded: RunningPlatform) -> None:
        """The sockets between the processes lie in a folder that nobody else can enter."""
        sockets = [path for path in guarded.layout.run.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]

        assert {path.name for path in sockets} == {"gateway.sock", "control.sock", "supervisor.sock"}
        assert stat.S_IMODE(guarded.layout.run.stat().st_mode) == 0o700

    def test_others_are_let_in_only_through_tls(self, guarded: RunningPlatform) -> None:
        """`hanlin up` on all addresses is refused unless something in front is said to speak TLS."""
        exposed = RunningPlatform(guarded.data.parent / "exposed", {"HANLIN_GATEWAY__HOST": "0.0.0.0"})
        done = exposed.run("up")

        assert done.returncode == 1
        assert "error [address_needs_tls]: " in done.stderr
        assert "HANLIN_HAS_TLS_IN_FRONT" in done.stderr


class TestFiles:
    def test_nobody_else_can_read_what_is_kept(self, guarded: RunningPlatform) -> None:
        """Whatever the folder allowed before: no file of the platform can be read by other users."""
        opened = [str(path) for path in reachable_by_others(guarded.data)]

        assert opened == []

    def test_what_was_confided_is_nowhere_in_plain_text(self, guarded: RunningPlatform) -> None:
        """
        Identity numbers and keys in requests, good ones and refused ones, are in no file, log or metric; the ledger
        has them, encrypted, for those who may see them.
        """
        with guarded.control() as client:
            key = client.send(Calls.create_key("confidant")).key or ""
        bodies = [
            {"model": DEPLOYMENT, "input": CONFIDED, "user": ID_CARD},
            {"model": "nobody", "input": CONFIDED},
            {"model": DEPLOYMENT, "input": CONFIDED * 10},
            {"model": DEPLOYMENT, "input": 1, "secret": CONFIDED},
        ]
        statuses = [guarded.post(body, key=key).status_code for body in bodies]
        guarded.post(json.dumps(CONFIDED)[:-1].encode(), key=key)
        with guarded.control() as client:
            found = client.send(Calls.search_records(text=ID_CARD, status=200)).data
        shown = [httpx.get(f"{guarded.addresses[n]}/metrics", trust_env=False).content for n in ("gateway", "control")]
        secrets = [word.encode() for word in (ID_CARD, BANK_CARD, PHONE, key, "服务太差")]
        kept = {path: path.read_bytes() for path in guarded.data.rglob("*") if path.is_file()}
        leaks = [(path, word) for path, content in kept.items() for word in secrets if word in content]

        assert statuses == [200, 404, 413, 400]
        assert found[0].request["input"] == CONFIDED
        assert len(kept) > 30
        assert leaks == []
        assert [word for word in secrets for page in shown if word in page] == []

    def test_errors_tell_nothing_of_the_inside(self, guarded: RunningPlatform) -> None:
        """No refusal shows a path, a statement of the store, or a traceback."""
        url, headers = guarded.addresses["control"], {"Authorization": f"Bearer {guarded.key}"}
        paths = (
            "/api/v1/models/%2e%2e%2fetc",
            "/api/v1/tasks/'%20OR%201=1",
            "/api/v1/corpora/x/versions/y",
            "/etc/passwd",
        )
        replies = [httpx.get(url + path, headers=headers, trust_env=False) for path in paths]
        replies += [guarded.post(body) for body in (b"\xff\xfe", b"[" * 5000, b"{}")]

        assert {reply.status_code for reply in replies} <= {400, 404}
        for reply in replies:
            assert not any(word in reply.text for word in (str(guarded.data), "Traceback", "SELECT", "sqlite", ".py"))


class TestTokens:
    def test_a_one_time_token_opens_one_session(self, guarded: RunningPlatform) -> None:
        """A token is exchanged once; it opens nothing by itself, and a second exchange is refused."""
        token = guarded.run("token").stdout.strip()
        with guarded.control(token) as client:
            alone = refusal(lambda: client.send(Calls.list_models()))
        with guarded.control("") as client:
            session = client.send(Calls.create_session(token))
            again = refusal(lambda: client.send(Calls.create_session(token)))
        with guarded.control(session.token or "") as client:
            principal = client.send(Calls.get_session()).principal
            client.send(Calls.delete_session())
            after = refusal(lambda: client.send(Calls.get_session()))

        assert token.startswith("hl_")
        assert principal == "admin"
        assert [error.status for error in (alone, again, after)] == [401, 401, 401]

    def test_nothing_opens_without_a_key(self, guarded: RunningPlatform) -> None:
        """Every path of the management API and every prediction asks for a key, and says so."""
        url = guarded.addresses["control"]
        document = httpx.get(f"{url}/api/v1/openapi.json", trust_env=False).json()
        paths = [path for path, methods in document["paths"].items() if "get" in methods]
        replies = {path: httpx.get(url + path, trust_env=False).status_code for path in paths}

        assert len(paths) > 20
        assert {path: status for path, status in replies.items() if status != 401} == {}
        assert guarded.post({"model": DEPLOYMENT, "input": "好"}, key="").status_code == 401

    def test_keys_are_kept_as_what_they_cannot_be_made_from(self, guarded: RunningPlatform) -> None:
        """What the store and the gateway's snapshot hold of a key is refused as a key."""
        with guarded.control() as client:
            made = client.send(Calls.create_key("hashed"))
        until(lambda: made.id in guarded.layout.snapshot.read_text(encoding="utf-8"), 10, "the gateway knows it")
        grants = json.loads(guarded.layout.snapshot.read_bytes())["keys"]
        hashed = next(grant["hash"] for grant in grants if grant["id"] == made.id)

        assert str(made.key) not in guarded.layout.snapshot.read_text(encoding="utf-8")
        assert [guarded.post({}, key=key).status_code for key in (hashed, f"hl_{made.id}_{hashed}")] == [401, 401]


def listening(platform: RunningPlatform) -> set[tuple[str, int]]:
    """Return where the processes of a platform take TCP connections, as the kernel tells."""
    assert platform.supervisor is not None
    inodes = set()
    for pid in [platform.supervisor.pid, *(child.pid for child in platform.children())]:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENS and words[9] in inodes:
                address, port = words[1].split(":")
                found.add((_address(address), int(port, 16)))
    return found


def _address(text: str) -> str:
    """Read an address as /proc/net shows it: words of four bytes in the machine's order."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def reachable_by_others(folder: Path) -> Iterator[Path]:
    """Yield the files below *folder* that users other than the owner could read."""
    for path in folder.iterdir():
        mode = path.stat().st_mode
        if path.is_dir() and mode & 0o011:
            yield from reachable_by_others(path)
        elif path.is_file() and mode & 0o044:
            yield path
