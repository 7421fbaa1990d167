from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.monitoring.receiver import Receiver

from hanlin.domain import ChannelId, InvalidInputError, PlatformError, UnavailableError
from hanlin.monitoring import ChannelSecrets, WebhookSender, check_url
from hanlin.monitoring.targets import is_public

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


def resolver(*answers: list[str]) -> Any:
    """Return a resolver that gives one answer after the other, as in DNS rebinding."""
    rest = list(answers)

    async def resolve(_: str, __: int) -> list[str]:
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return resolve


async def send(sender: WebhookSender, url: str) -> None:
    await sender.send(url, secret=SECRET, message_id="msg_1", timestamp=1_800_000_000, body=b'{"a": 1}')


async def code_of(sender: WebhookSender, url: str) -> str:
    with pytest.raises(PlatformError) as caught:
        await send(sender, url)
    return caught.value.code


class TestCheckUrl:
    @pytest.mark.parametrize(
        ("url", "allowed"),
        [
            ("https://hooks.example.com/x", ["hooks.example.com"]),
            ("https://HOOKS.example.com./x", ["hooks.example.com"]),
            ("https://hooks.example.com:8443/x", ["hooks.example.com:8443"]),
            ("http://127.0.0.1:9000/x", ["127.0.0.1:9000"]),
            ("http://[::1]:9000/x", ["[::1]:9000"]),
        ],
    )
    def test_lets_listed_hosts_pass(self, url: str, allowed: list[str]) -> None:
        """A host, or a host with its port, can be listed."""
        assert check_url(url, allowed).url

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example.com/",
            "https://hooks.example.com.evil.com/",
            "https://hooks.example.com@evil.com/",
            "https://hooks.example.com:444/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://[::ffff:127.0.0.1]/",
            "https://hooks.example.com\\@evil.com/",
            "ftp://hooks.example.com/",
            "file:///etc/passwd",
            "hooks.example.com",
            "https://",
            "https://[::1",
        ],
    )
    def test_refuses_everything_else(self, url: str) -> None:
        """Disguises of a host, other ports and other schemes are not on the list."""
        with pytest.raises(InvalidInputError) as caught:
            check_url(url, ["hooks.example.com:443"])

        assert caught.value.code in {"webhook_host_not_allowed", "webhook_url_invalid"}


class TestSend:
    async def test_signs_what_it_sends(self, receiver: Receiver) -> None:
        """A receiver can check id, time and body with the channel's secret."""
        await send(WebhookSender([receiver.listed]), receiver.url)

        got = receiver.received[0]
        signed = b"msg_1.1800000000." + got.body
        expected = base64.b64encode(hmac.digest(b"k" * 32, signed, hashlib.sha256)).decode()
        assert got.headers["webhook-signature"] == f"v1,{expected}"
        assert (got.headers["webhook-id"], got.headers["webhook-timestamp"]) == ("msg_1", "1800000000")
        assert got.headers["host"] == receiver.listed

    async def test_refuses_a_redirect(self, receiver: Receiver) -> None:
        """A redirect is not followed, wherever it leads."""
        receiver.answer = lambda _: (302, {"Location": f"http://127.0.0.1:{receiver.port}/inner"})

        assert await code_of(WebhookSender([receiver.listed]), receiver.url) == "webhook_redirected"
        assert [got.path for got in receiver.received] == ["/hook"]

    @pytest.mark.parametrize(
        "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00::1"]
    )
    async def test_refuses_a_name_that_leads_inside(self, receiver: Receiver, address: str) -> None:
        """A listed name that resolves to an inner address is refused unless that address is listed too."""
        sender = WebhookSender(["hooks.example.com"], resolve=resolver([address]))

        code = await code_of(sender, f"http://hooks.example.com:{receiver.port}/hook")

        assert code == "webhook_address_not_allowed"
        assert receiver.received == []

    async def test_one_inner_address_among_others_is_enough_to_refuse(self) -> None:
        """An answer with a good and a bad address is a bad answer."""
        sender = WebhookSender(["hooks.example.com"], resolve=resolver(["93.184.215.14", "10.0.0.1"]))

        assert await code_of(sender, "https://hooks.example.com/") == "webhook_address_not_allowed"

    async def test_connects_to_the_address_that_was_checked(self, receiver: Receiver) -> None:
        """The name is resolved once; a second, different answer is never asked for (DNS rebinding)."""
        listed = ["hooks.example.com", "127.0.0.1"]
        sender = WebhookSender(listed, resolve=resolver(["127.0.0.1"], ["10.0.0.1"]))

        await send(sender, f"http://hooks.example.com:{receiver.port}/hook")

        assert receiver.received[0].headers["host"] == f"hooks.example.com:{receiver.port}"

    async def test_the_outside_world_gets_https_only(self) -> None:
        """Plain http to a public address is refused."""
        sender = WebhookSender(["hooks.example.com"], resolve=resolver(["93.184.215.14"]))

        assert await code_of(sender, "http://hooks.example.com/") == "webhook_https_required"

    async def test_proxies_of_the_environment_are_not_used(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No variable diverts a message."""
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")

        await send(WebhookSender([receiver.listed]), receiver.url)

        assert len(receiver.received) == 1

    async def test_says_how_long_a_busy_receiver_wants_to_be_left_alone(self, receiver: Receiver) -> None:
        """429 with Retry-After is passed on."""
        receiver.answer = lambda _: (429, {"Retry-After": "7"})

        with pytest.raises(UnavailableError) as caught:
            await send(WebhookSender([receiver.listed]), receiver.url)

        assert (caught.value.code, caught.value.retry_after_s) == ("webhook_failed", 7.0)

    async def test_nobody_there_is_worth_another_try(self, receiver: Receiver) -> None:
        """A refused connection or a name without address is webhook_unreachable."""
        receiver.stop()
        assert await code_of(WebhookSender([receiver.listed]), receiver.url) == "webhook_unreachable"
        receiver.start()

        sender = WebhookSender(["hooks.example.com"], resolve=resolver([]))
        assert await code_of(sender, "https://hooks.example.com/") == "webhook_unreachable"


class TestTls:
    """Though the connection goes to an address, the certificate has to be the name's."""

    @pytest.mark.parametrize(
        ("host", "expected"), [("hooks.example.com", None), ("other.example.com", "webhook_unreachable")]
    )
    async def test_checks_the_certificate_against_the_name(
        self, receiver: Receiver, tmp_path: Path, host: str, expected: str | None
    ) -> None:
        """A receiver that cannot prove to be the listed host gets nothing."""
        certificate = certify("hooks.example.com", tmp_path)
        receiver.stop()
        receiver.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        receiver.context.load_cert_chain(certificate)
        receiver.start()
        trust = ssl.create_default_context(cafile=str(certificate))
        sender = WebhookSender([host, "127.0.0.1"], resolve=resolver(["127.0.0.1"]), verify=trust)

        url = f"https://{host}:{receiver.port}/hook"
        if expected:
            assert await code_of(sender, url) == expected
        else:
            await send(sender, url)

        assert len(receiver.received) == (0 if expected else 1)


def certify(host: str, folder: Path) -> Path:
    """Write a self-signed certificate for *host* with its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, plain, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


class TestIsPublic:
    @pytest.mark.parametrize(
        "text", ["0.0.0.0", "100.64.0.1", "192.0.0.1", "224.0.0.1", "255.255.255.255", "2002:7f00:1::"]
    )
    def test_knows_special_addresses(self, text: str) -> None:
        """Shared, reserved, multicast and translated addresses are not public."""
        assert not is_public(ipaddress.ip_address(text))

    def test_lets_real_ones_pass(self) -> None:
        """A public address is public in both families."""
        assert is_public(ipaddress.ip_address("93.184.215.14"))
        assert is_public(ipaddress.ip_address("2606:2800:21f:cb07:6820:80da:af6b:8b2c"))


class TestChannelSecrets:
    def test_keeps_one_secret_a_channel_for_the_owner_only(self, tmp_path: Path) -> None:
        """A secret is random, readable by nobody else, and gone when removed."""
        secrets = ChannelSecrets(tmp_path)
        made = secrets.create(ChannelId("channel_1"))

        assert secrets.find(ChannelId("channel_1")) == made
        assert secrets.create(ChannelId("channel_2")) != made
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
        secrets.remove(ChannelId("channel_1"))
        assert secrets.find(ChannelId("channel_1")) is None
