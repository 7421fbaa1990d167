"""Who may ask what: keys from the snapshot, compared in constant time, and their rate limits."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping

from hanlin.auth import hash_key, parse_key_id
from hanlin.domain import ForbiddenError, Permission, RateLimitedError, Role, UnauthenticatedError, permissions_of
from hanlin.wire import KeyGrant

WINDOW_S = 60.0


class Access:
    """Checks callers against the grants of the latest snapshot."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._clock = secret, clock
        self._grants: Mapping[str, KeyGrant] = {}
        self._windows: dict[str, tuple[float, int]] = {}

    def replace(self, grants: Mapping[str, KeyGrant]) -> None:
        """Use *grants* from now on; a key that is not among them is refused with the next request."""
        self._grants = grants

    def authenticate(self, authorization: str) -> KeyGrant:
        """Return the grant behind an Authorization header, or raise UnauthenticatedError."""
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise UnauthenticatedError("no key came with the request", hint="send Authorization: Bearer hl_…")
        grant = self._grants.get(parse_key_id(key.strip()))
        expected = grant.hash if grant is not None else "0" * 64
        is_same = hmac.compare_digest(expected, hash_key(self._secret, key.strip()))
        if grant is None or not is_same:
            raise UnauthenticatedError("the key is not known or was revoked", hint="ask for a new one")
        if grant.expires_at is not None and self._clock() >= grant.expires_at:
            raise UnauthenticatedError(f"key {grant.id} has expired", hint="ask for a new one")
        return grant

    @staticmethod
    def permit(grant: KeyGrant, deployment: str) -> None:
        """Return when *grant* opens *deployment*, or raise ForbiddenError."""
        roles = frozenset(Role(role) for role in grant.roles)
        if Permission.PREDICT not in permissions_of(roles):
            raise ForbiddenError(
                f"{grant.principal} may not predict", hint="the key needs a role such as caller", param="model"
            )
        if not may_call(grant, deployment):
            raise ForbiddenError(
                f"key {grant.id} does not open deployment {deployment!r}", hint="ask for a key that does", param="model"
            )

    def count(self, grant: KeyGrant) -> dict[str, str]:
        """Count one request against the key's limit and return the rate-limit headers; RateLimitedError past it."""
        limit = grant.requests_per_minute
        if limit is None:
            return {}
        now = self._clock()
        begun, used = self._windows.get(grant.id, (now, 0))
        if now - begun >= WINDOW_S:
            begun, used = now, 0
        left_s = WINDOW_S - (now - begun)
        if used >= limit:
            raise RateLimitedError(
                f"key {grant.id} may ask {limit} times a minute", hint=f"wait {left_s:.0f} s", retry_after_s=left_s
            )
        self._windows[grant.id] = (begun, used + 1)
        return {
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": str(limit - used - 1),
            "x-ratelimit-reset-requests": f"{left_s:.0f}s",
        }


def may_call(grant: KeyGrant, deployment: str) -> bool:
    """Whether the key's scope includes *deployment*."""
    return "*" in grant.deployments or deployment in grant.deployments
