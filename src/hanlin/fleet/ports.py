"""Listening sockets: bound once by the supervisor, inherited by whoever serves them."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

from hanlin.domain import ConflictError, InvalidInputError

LISTEN_FD = "HANLIN_LISTEN_FD"
BACKLOG = 2048


def bind_port(host: str, port: int, *, has_tls_in_front: bool = False) -> socket.socket:
    """
    Return a listening socket on *host*:*port* (0 takes a free port).

    It stays bound while the process that serves it is replaced, so that clients wait instead of being refused.
    Raises ConflictError (``port_taken``) or InvalidInputError (``address_invalid``; ``address_needs_tls`` for anything
    but loopback, since keys would cross the network in the clear, unless something in front speaks TLS).
    """
    if not (has_tls_in_front or _is_loopback(host)):
        raise InvalidInputError(
            f"{host} is not a loopback address, and keys would cross the network in the clear",
            code="address_needs_tls",
            hint="listen on 127.0.0.1, or put a TLS proxy in front and set HANLIN_HAS_TLS_IN_FRONT=true",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"port {port} on {host} is taken",
                code="port_taken",
                hint="stop what uses it, or set HANLIN_GATEWAY__PORT or HANLIN_CONTROL__PORT",
            ) from None
        raise InvalidInputError(f"cannot listen on {host}:{port}: {error.strerror}", code="address_invalid") from None
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def inherited_listener() -> socket.socket | None:
    """Return the socket that the supervisor handed to this process, or None in one that was started by hand."""
    descriptor = os.environ.pop(LISTEN_FD, "")
    if not descriptor:
        return None
    listener = socket.socket(fileno=int(descriptor))
    listener.setblocking(False)
    return listener
