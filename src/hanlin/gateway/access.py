"""Who may ask what: keys from the snapshot, compared in constant time, and their rate limits."""

from __future__ import annotations

import hmac
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hanlin.auth import hash_key, parse_key_id
from hanlin.domain import ForbiddenError, Permission, RateLimitedError, Role, UnauthenticatedError, permissions_of
from hanlin.wire import KeyGrant, Route

WINDOW_S = 60.0
UNKNOWN = "0" * 64
ROLES = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Pass:
    """A grant, with what it opens worked out once."""

    grant: KeyGrant
    may_predict: bool
    opens_all: bool
    deployments: frozenset[str]

    def sees(self, route: Route) -> bool:
        """Whether the deployment exists for this key: those of other workspaces do not."""
        return self.grant.workspace == route.workspace

    def may_call(self, route: Route) -> bool:
        """Whether the key may predict with the deployment."""
        in_scope = self.opens_all or route.deployment in self.deployments
        return self.may_predict and in_scope and self.sees(route)


class Access:
    """Checks callers against the grants of the latest snapshot."""

    def __init__(
        self,
        secret: bytes,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret, self._clock, self._ticks = secret, clock, ticks
        self._passes: dict[str, Pass] = {}
        self._recent: dict[str, deque[float]] = {}

    def replace(self, grants: Sequence[KeyGrant]) -> None:
        """Use *grants* from now on; a key that is not among them is refused with the next request."""
        self._passes = {grant.id: _pass_of(grant) for grant in grants}
        self._recent = {name: times for name, times in self._recent.items() if name in self._passes}

    def authenticate(self, authorization: str) -> Pass:
        """Return the pass behind an Authorization header, or raise UnauthenticatedError."""
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise UnauthenticatedError("no key came with the request", hint="send Authorization: Bearer hl_…")
        known = self._passes.get(parse_key_id(key))
        expected = known.grant.hash if known is not None else UNKNOWN
        is_same = hmac.compare_digest(expected, hash_key(self._secret, key))
        if known is None or not is_same:
            raise UnauthenticatedError("the key is not known or was revoked", hint="ask for a new one")
        if known.grant.expires_at is not None and self._clock() >= known.grant.expires_at:
            raise UnauthenticatedError(f"key {known.grant.id} has expired", hint="ask for a new one")
        return known

    @staticmethod
    def permit(caller: Pass, route: Route) -> None:
        """Return when *caller* may predict with the deployment, or raise ForbiddenError that says what is missing."""
        if not caller.may_predict:
            roles = ", ".join(sorted(caller.grant.roles)) or "none"
            raise ForbiddenError(
                f"{caller.grant.principal} (roles: {roles}) may not predict",
                hint="the key needs a role such as caller",
            )
        if not caller.may_call(route):
            raise ForbiddenError(
                f"key {caller.grant.id} does not open deployment {route.deployment!r}",
                hint="ask for a key that does",
                param="model",
            )

    def count(self, grant: KeyGrant, headers: dict[str, str]) -> None:
        """
        Count one request against the key's limit, exactly: never more than that many in any 60 seconds.

        Adds the rate-limit headers to *headers*; raises RateLimitedError past the limit.
        """
        limit = grant.requests_per_minute
        if limit is None:
            return
        now = self._ticks()
        times = self._recent.setdefault(grant.id, deque())
        while times and times[0] <= now - WINDOW_S:
            times.popleft()
        has_room = len(times) < limit
        if has_room:
            times.append(now)
        wait_s = times[0] + WINDOW_S - now if times else WINDOW_S
        left = limit - len(times)
        headers["x-ratelimit-limit-requests"] = str(limit)
        headers["x-ratelimit-remaining-requests"] = str(left)
        headers["x-ratelimit-reset-requests"] = f"{wait_s:.0f}s"
        headers["RateLimit-Policy"] = f'"requests";q={limit};w={WINDOW_S:.0f}'
        headers["RateLimit"] = f'"requests";r={left};t={wait_s:.0f}'
        if not has_room:
            raise RateLimitedError(
                f"key {grant.id} may ask {limit} times a minute", hint=f"wait {wait_s:.0f} s", retry_after_s=wait_s
            )


def _pass_of(grant: KeyGrant) -> Pass:
    roles = frozenset(Role(role) for role in grant.roles if role in ROLES)  # an unknown role allows nothing
    may_predict = Permission.PREDICT in permissions_of(roles)
    return Pass(grant, may_predict, "*" in grant.deployments, frozenset(grant.deployments))
