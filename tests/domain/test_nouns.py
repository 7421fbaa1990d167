"""The nouns keep their own rules."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from hanlin.domain import (
    REPLICA_MOVES,
    DeploymentName,
    DeploymentSpec,
    Digest,
    IllegalMoveError,
    InvalidInputError,
    ModelName,
    Permission,
    Promotion,
    PromotionId,
    PromotionState,
    Replica,
    ReplicaId,
    ReplicaState,
    Role,
    new_uuid,
    permissions_of,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class TestIds:
    def test_are_version_7_uuids_in_the_order_of_time(self) -> None:
        """Ids sort by when they were made."""
        ids = [new_uuid() for _ in range(3)]

        assert {(UUID(i).version, UUID(i).variant) for i in ids} == {(7, "specified in RFC 4122")}
        assert [i[:8] for i in ids] == sorted(i[:8] for i in ids)


class TestReplica:
    def test_moves_only_along_the_table(self) -> None:
        """A stopped replica cannot become ready again."""
        starting = Replica(
            id=ReplicaId("r1"), deployment=DeploymentName("d"), version=1, digest=Digest("sha256:0"), generation=1
        )

        for state in ReplicaState:
            if state in REPLICA_MOVES[ReplicaState.STARTING]:
                assert starting.moved(state).state is state
            else:
                with pytest.raises(IllegalMoveError):
                    starting.moved(state)


class TestDeploymentSpec:
    @pytest.mark.parametrize(
        "changes",
        [
            {"threads": 0},
            {"threads": "2"},
            {"threads": True},
            {"device": "tpu"},
            {"min_replicas": 9, "max_replicas": 2},
        ],
    )
    def test_refuses_values_out_of_range(self, changes: dict[str, object]) -> None:
        """Type, bounds and choices are checked before anything is saved; the item is named."""
        with pytest.raises(InvalidInputError) as caught:
            DeploymentSpec(model=ModelName("m")).changed(changes)

        assert caught.value.code == "config_invalid"
        assert caught.value.param in changes

    def test_refuses_unknown_items(self) -> None:
        """A misspelt item is an error, not ignored."""
        with pytest.raises(InvalidInputError) as caught:
            DeploymentSpec(model=ModelName("m")).changed({"thread": 1})

        assert caught.value.code == "config_unknown_item"

    def test_knows_what_restarts_replicas(self) -> None:
        """Threads and device restart replicas; batch bound and scale do not."""
        spec = DeploymentSpec(model=ModelName("m"))

        assert spec.restarts_replicas(spec.changed({"threads": 2}))
        assert not spec.restarts_replicas(spec.changed({"max_batch_tokens": 1024, "max_replicas": 4}))


class TestPromotion:
    def test_is_decided_once(self) -> None:
        """A decided promotion stays as it was decided."""
        asked = Promotion(
            id=PromotionId("p"),
            model=ModelName("m"),
            version=1,
            alias="champion",
            requested_by="ann",
            requested_at=NOW,
            policy="accuracy > 0",
        )
        refused = asked.moved(PromotionState.REFUSED, by="bob", at=NOW)

        with pytest.raises(IllegalMoveError):
            refused.moved(PromotionState.APPROVED, by="bob", at=NOW)


class TestRoles:
    def test_allow_nothing_by_default(self) -> None:
        """No role, no permission; an auditor can look but not change; only callers' roles predict."""
        assert permissions_of(frozenset()) == frozenset()
        assert permissions_of(frozenset({Role.AUDITOR})) == {Permission.READ, Permission.AUDIT}
        assert Permission.PREDICT not in permissions_of(frozenset({Role.VIEWER, Role.AUDITOR}))
