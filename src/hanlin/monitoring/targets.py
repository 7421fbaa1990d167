"""Where webhooks may go: hosts on the allow-list, resolved once, and never by surprise to an inner address."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias

import httpx

from hanlin.domain import InvalidInputError, UnavailableError

Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))  # NAT64 hides an IPv4


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A webhook address that was checked against the allow-list."""

    url: httpx.URL
    host: str
    port: int


def check_url(url: str, allowed: Collection[str]) -> Target:
    """
    Return the target of *url* if its host is one of *allowed* (``host`` for all its ports, or ``host:port``).

    Raises InvalidInputError: ``webhook_url_invalid``, ``webhook_host_not_allowed``.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise _refused(
            "webhook_url_invalid", "the address of the webhook cannot be read", "https://host/path"
        ) from None
    host = parsed.raw_host.decode("ascii").lower().strip("[]").rstrip(".")
    if parsed.scheme not in {"http", "https"} or not host or parsed.userinfo:
        raise _refused(
            "webhook_url_invalid", "the address cannot be used", "https://host/path, without user or password"
        )
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    if not _is_listed(host, port, allowed):
        hint = "an administrator can add it to alerts.webhook_hosts (HANLIN_ALERTS__WEBHOOK_HOSTS)"
        raise _refused("webhook_host_not_allowed", f"{host}:{port} is not on the list of webhook hosts", hint)
    return Target(url=parsed, host=host, port=port)


async def addresses_of(target: Target, allowed: Collection[str], resolve: Resolve) -> list[str]:
    """
    Return the addresses to connect to, resolved once; whoever sends must use them and not resolve again.

    If any of them is inside (loopback, private, link-local, reserved …) and neither it nor ``localhost`` is listed
    itself, raises InvalidInputError (``webhook_address_not_allowed``). Plain http is for listed inner addresses
    (``webhook_https_required``).
    """
    try:
        found = await resolve(target.host, target.port)
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise UnavailableError(f"{target.host} has no address", code="webhook_unreachable", hint="check its name")
    for address in found:
        _check_address(target, address, allowed)
    return found


def _check_address(target: Target, text: str, allowed: Collection[str]) -> None:
    address = ipaddress.ip_address(text.partition("%")[0])
    inner = not is_public(address)
    is_named = _is_listed(str(address), target.port, allowed)
    is_local = target.host == "localhost" and address.is_loopback
    if inner and not (is_named or is_local):
        raise _refused(
            "webhook_address_not_allowed",
            f"{target.host} leads to an address inside the network",
            "an inner receiver has to be listed by its address in alerts.webhook_hosts",
        )
    if not inner and target.url.scheme != "https":
        raise _refused("webhook_https_required", f"{target.host} is outside and the address begins with http", "https")


def is_public(address: Address) -> bool:
    """Whether *address* belongs to one host of the public network; an inner one in disguise does not."""
    if isinstance(address, ipaddress.IPv6Address) and _hides_another(address):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _hides_another(address: ipaddress.IPv6Address) -> bool:
    return bool(address.ipv4_mapped or address.sixtofour or address.teredo or any(address in net for net in TRANSLATED))


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Return the addresses of *host* as the system's resolver gives them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _is_listed(host: str, port: int, allowed: Collection[str]) -> bool:
    bracketed = f"[{host}]" if ":" in host else host
    names = {host, bracketed, f"{bracketed}:{port}"}
    return any(entry.strip().lower() in names for entry in allowed)


def _refused(code: str, message: str, hint: str) -> InvalidInputError:
    return InvalidInputError(message, code=code, hint=hint, param="url")
