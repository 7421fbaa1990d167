"""Who acts (principals and their keys) and what each role may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from hanlin.domain.ids import KeyId


class Permission(StrEnum):
    """One thing that a route asks for; a caller without it is refused."""

    READ = "read"  # look at models, corpora, deployments, tasks, figures
    PREDICT = "predict"
    BUILD = "build"  # import corpora, pull bases, train, compress, evaluate, ask for promotion
    APPROVE = "approve"  # decide promotions of others
    OPERATE = "operate"  # deploy, scale, configure, roll back, alert rules, schedules
    AUDIT = "audit"  # search and verify the ledger
    MANAGE_KEYS = "manage_keys"
    MANAGE_SYSTEM = "manage_system"


class Role(StrEnum):
    """The built-in roles."""

    VIEWER = "viewer"
    CALLER = "caller"
    ENGINEER = "engineer"
    VALIDATOR = "validator"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    SECURITY_ADMINISTRATOR = "security_administrator"
    SYSTEM_ADMINISTRATOR = "system_administrator"


_P = Permission
ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({_P.READ}),
    Role.CALLER: frozenset({_P.PREDICT}),
    Role.ENGINEER: frozenset({_P.READ, _P.PREDICT, _P.BUILD}),
    Role.VALIDATOR: frozenset({_P.READ, _P.PREDICT, _P.APPROVE}),
    Role.OPERATOR: frozenset({_P.READ, _P.PREDICT, _P.OPERATE}),
    Role.AUDITOR: frozenset({_P.READ, _P.AUDIT}),
    Role.SECURITY_ADMINISTRATOR: frozenset({_P.READ, _P.MANAGE_KEYS}),
    Role.SYSTEM_ADMINISTRATOR: frozenset({_P.READ, _P.MANAGE_SYSTEM}),
}


def permissions_of(roles: frozenset[Role]) -> frozenset[Permission]:
    """Return everything that *roles* together allow."""
    return frozenset().union(*(ROLE_PERMISSIONS[role] for role in roles))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who makes a call: the person or program, the credential it used, and what it may do."""

    principal: str
    key_id: KeyId
    roles: frozenset[Role]
    workspace: str = "default"

    def may(self, permission: Permission) -> bool:
        """Whether some role of the caller allows *permission*."""
        return permission in permissions_of(self.roles)


class KeyKind(StrEnum):
    """What a credential is for."""

    API = "api"  # programs
    SESSION = "session"  # a person in the console or on the command line; short-lived
    ONE_TIME = "one_time"  # exchanged once for a session


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A credential as we keep it: never the secret, only a keyed hash of it."""

    id: KeyId
    kind: KeyKind
    name: str
    principal: str
    roles: frozenset[Role]
    hash: str
    created_at: datetime
    created_by: str
    workspace: str = "default"
    deployments: tuple[str, ...] = ("*",)
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    requests_per_minute: int | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether the key may still be used at *now*."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
