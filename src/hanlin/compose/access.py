"""Credentials of a local platform: the one-time token for a person, and keys for the platform's own programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hanlin.auth import Keys
from hanlin.compose.parts import Home
from hanlin.control import Changes, Context
from hanlin.domain import Caller, KeyId, KeyKind, Role
from hanlin.store import Store

ALL_ROLES = tuple(Role)
TOKEN_LASTS = timedelta(hours=24)
LOCAL_LASTS = timedelta(days=30)
CLI_CREDENTIAL = "cli_key"
PROBE_CREDENTIAL = "probe_key"
SUPERVISOR = Caller(principal="supervisor", key_id=KeyId(""), roles=frozenset())


def issue_token(home: Home, store: Store) -> str:
    """Make a one-time token that opens a session with all roles; whoever reads the data folder may."""
    now = datetime.now(UTC)
    with home.open_ledger("local") as ledger:
        keys, changes = Keys(store, home.key_secret()), Changes(store, ledger)
        with changes.record(Context(caller=SUPERVISOR, request_id="local"), "token.created") as details:
            row, token = keys.issue(
                kind=KeyKind.ONE_TIME,
                name="one-time token",
                principal="admin",
                roles=ALL_ROLES,
                by="local",
                now=now,
                lasts=TOKEN_LASTS,
            )
            details["key"] = row.id
    return token


def mint_token(home: Home) -> str:
    """Open the store, make a one-time token, and return it."""
    store = home.open_store()
    try:
        return issue_token(home, store)
    finally:
        store.close()


def renew_own_keys(home: Home, store: Store) -> None:
    """Replace the keys of the command line and of the deep probe; those of an earlier start end."""
    keys, now = Keys(store, home.key_secret()), datetime.now(UTC)
    with home.open_ledger("local") as ledger:
        changes = Changes(store, ledger)
        context = Context(caller=SUPERVISOR, request_id="local")
        with changes.record(context, "own_keys.renewed") as details:
            for row in list(store.keys.iter(kind=KeyKind.SESSION.value)):
                if row.principal in {"local", "probe"} and row.revoked_at is None:
                    keys.revoke(row.id, now)
            for principal, credential, roles in (
                ("local", CLI_CREDENTIAL, ALL_ROLES),
                ("probe", PROBE_CREDENTIAL, (Role.CALLER,)),
            ):
                row, key = keys.issue(
                    kind=KeyKind.SESSION,
                    name=credential,
                    principal=principal,
                    roles=roles,
                    by="supervisor",
                    now=now,
                    lasts=LOCAL_LASTS,
                )
                home.keep_credential(credential, key)
                details[credential] = row.id
