"""Sends one signed message to a webhook."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import ssl
from collections.abc import Collection
from pathlib import Path

import httpx

from hanlin.domain import ChannelId, UnavailableError
from hanlin.monitoring.targets import Resolve, Target, addresses_of, check_url, resolve_by_system

SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, so that scanners find leaked ones
TIMEOUT = httpx.Timeout(10.0, connect=3.0)


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature ``v1,<base64>`` of a message as Standard Webhooks define it."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class ChannelSecrets:
    """The signing secrets of channels: one file each, readable by the owner only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, channel: ChannelId) -> str:
        """Make and keep a new secret; return it."""
        secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        file = os.open(self._path(channel), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as opened:
            opened.write(secret)
            opened.flush()
            os.fsync(file)
        return secret

    def find(self, channel: ChannelId) -> str | None:
        """Return the secret of *channel*, or None."""
        path = self._path(channel)
        return path.read_text(encoding="ascii") if path.exists() else None

    def remove(self, channel: ChannelId) -> None:
        """Forget the secret of *channel*. Idempotent."""
        self._path(channel).unlink(missing_ok=True)

    def _path(self, channel: ChannelId) -> Path:
        return self._folder / f"{channel}.webhook"


class WebhookSender:
    """
    Posts messages to hosts on the allow-list and nowhere else.

    The name is resolved once and the connection goes to that address; redirects and proxies are not followed.
    """

    def __init__(
        self,
        allowed: Collection[str],
        *,
        resolve: Resolve = resolve_by_system,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._allowed, self._resolve, self._verify = tuple(allowed), resolve, verify

    async def send(self, url: str, *, secret: str, message_id: str, timestamp: int, body: bytes) -> None:
        """
        Deliver *body*, or raise: InvalidInputError where it may not go (see check_url, addresses_of), or
        UnavailableError (``webhook_unreachable``, ``webhook_failed``, ``webhook_redirected``), worth another try.
        """
        target = check_url(url, self._allowed)
        addresses = await addresses_of(target, self._allowed, self._resolve)
        headers = {
            "Host": target.url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "hanlin",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secret, message_id, timestamp, body),
        }
        _judge(target, *await self._post(target, addresses, headers, body))

    async def _post(
        self, target: Target, addresses: list[str], headers: dict[str, str], body: bytes
    ) -> tuple[int, httpx.Headers]:
        async with httpx.AsyncClient(
            verify=self._verify, trust_env=False, follow_redirects=False, timeout=TIMEOUT
        ) as client:
            for address in addresses:
                request = client.build_request(
                    "POST",
                    target.url.copy_with(host=address),
                    headers=headers,
                    content=body,
                    extensions={"sni_hostname": target.host},
                )
                try:
                    reply = await client.send(request, stream=True)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    continue
                except httpx.HTTPError as error:
                    raise _unreachable(target, type(error).__name__) from None
                await reply.aclose()
                return reply.status_code, reply.headers
        raise _unreachable(target, "no connection")


def _judge(target: Target, status: int, headers: httpx.Headers) -> None:
    if status < 300:
        return
    if status < 400:
        raise UnavailableError(
            f"{target.host} answered with a redirect ({status})",
            code="webhook_redirected",
            hint="redirects are not followed: use the final address",
        )
    wait = headers.get("Retry-After", "")
    raise UnavailableError(
        f"{target.host} answered with status {status}",
        code="webhook_failed",
        hint="the receiver's log may say why",
        retry_after_s=float(wait) if wait.isdigit() else None,
    )


def _unreachable(target: Target, why: str) -> UnavailableError:
    return UnavailableError(
        f"{target.host}:{target.port} cannot be reached: {why}", code="webhook_unreachable", hint="it is tried again"
    )
