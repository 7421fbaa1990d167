"""The one question every route asks: may this caller do that?"""

from __future__ import annotations

from hanlin.domain import Caller, ForbiddenError, Permission


def require(caller: Caller, permission: Permission) -> None:
    """Return when *caller* has *permission*, or raise ForbiddenError that names what is missing."""
    if not caller.may(permission):
        roles = ", ".join(sorted(caller.roles)) or "none"
        raise ForbiddenError(
            f"{caller.principal} (roles: {roles}) may not {permission.value.replace('_', ' ')}",
            hint="ask a security administrator for a role that includes it",
        )
