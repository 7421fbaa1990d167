"""Keys prove who calls; what is stored proves nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hanlin.auth import Keys, caller_of, load_secret, require
from hanlin.domain import ApiKey, ForbiddenError, KeyKind, Permission, Role, UnauthenticatedError
from hanlin.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def keys() -> Keys:
    return Keys(Store.open_in_memory(), b"s" * 32)


def issue(keys: Keys, kind: KeyKind = KeyKind.API, lasts: timedelta | None = None) -> tuple[ApiKey, str]:
    roles = [Role.CALLER]
    return keys.issue(kind=kind, name="n", principal="p", roles=roles, by="admin", now=NOW, lasts=lasts)


class TestKeys:
    def test_open_with_the_whole_secret_only(self, keys: Keys) -> None:
        """The key opens; its hash, its prefix, and a key that shares its first 40 characters do not."""
        row, key = issue(keys)

        assert keys.check(key, NOW) == row
        for wrong in (row.hash, key[:40], key[:-1] + ("A" if key[-1] != "A" else "B"), key + "x", "", "hl__"):
            with pytest.raises(UnauthenticatedError):
                keys.check(wrong, NOW)

    def test_keep_no_secret_in_the_store(self, keys: Keys) -> None:
        """Nothing that is stored contains the secret, which may itself contain underscores."""
        for row, key in (issue(keys) for _ in range(50)):
            secret = key.split("_", 2)[2]

            assert len(secret) == 43
            assert secret not in repr(row)

    def test_end_by_revocation_and_by_time(self, keys: Keys) -> None:
        """A revoked or expired key is refused, and the message says which."""
        row, key = issue(keys, lasts=timedelta(hours=1))

        with pytest.raises(UnauthenticatedError, match="expired"):
            keys.check(key, NOW + timedelta(hours=1))
        keys.revoke(row.id, NOW)
        with pytest.raises(UnauthenticatedError, match="revoked"):
            keys.check(key, NOW)

    def test_trade_a_one_time_token_once(self, keys: Keys) -> None:
        """A one-time token gives one session, and nothing the second time."""
        _, token = issue(keys, KeyKind.ONE_TIME)
        session, _ = keys.exchange(token, NOW, lasts=timedelta(hours=1))

        assert session.kind is KeyKind.SESSION
        with pytest.raises(UnauthenticatedError):
            keys.exchange(token, NOW, lasts=timedelta(hours=1))


class TestRequire:
    def test_lets_only_the_permitted_pass(self, keys: Keys) -> None:
        """A caller may predict and nothing else."""
        caller = caller_of(issue(keys)[0])

        require(caller, Permission.PREDICT)
        with pytest.raises(ForbiddenError, match="may not operate"):
            require(caller, Permission.OPERATE)


class TestSecret:
    def test_is_made_once_and_closed_to_others(self, tmp_path: Path) -> None:
        """The secret stays the same and only its owner can read it."""
        path = tmp_path / "secret"

        assert load_secret(path) == load_secret(path)
        assert path.stat().st_mode & 0o777 == 0o600
