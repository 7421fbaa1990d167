"""Deployments: configuration as releases that only ever go forward, and what was served when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.control.ledgers import POLICY, MemoryRecorder, add_version, by

from hanlin.control import Deployments, Promotions, Registry, etag_of
from hanlin.domain import (
    ConflictError,
    Deployment,
    DeploymentSpec,
    InvalidInputError,
    LedgerUnavailableError,
    ModelName,
    NotFoundError,
    PreconditionFailedError,
    Promotion,
    Release,
)
from hanlin.store import Store

NOW = datetime.now(UTC)
MOMENT = timedelta(microseconds=1)


@pytest.fixture(autouse=True)
def version(registry: Registry) -> int:
    """A version of the model that deployments follow."""
    return add_version(registry)


def create(deployments: Deployments, name: str = "reviews", **config: object) -> Deployment:
    """Make a deployment."""
    return deployments.create(by("olga"), name=name, model="reviews", alias="champion", config=config)


class TestCreate:
    def test_makes_release_one(self, store: Store, deployments: Deployments, recorder: MemoryRecorder) -> None:
        """A new deployment is there with its first release, and the ledger says who made it."""
        made = create(deployments, min_replicas=2, max_replicas=4)

        assert store.deployments.get("reviews") == made
        assert (made.release, made.wanted_replicas, made.version) == (1, 2, None)
        release = store.releases.get("reviews", 1)
        assert (release.spec, release.created_by, release.note) == (made.spec, "olga", "created")
        assert recorder.entries[-1].action == "deployment.created"
        assert recorder.entries[-1].details == {
            "deployment": "reviews",
            "model": "reviews",
            "alias": "champion",
            "release": 1,
        }

    def test_takes_each_name_once(self, store: Store, deployments: Deployments) -> None:
        """A taken name is a conflict and changes nothing."""
        made = create(deployments)

        with pytest.raises(ConflictError) as caught:
            create(deployments, max_replicas=9)
        assert caught.value.code == "deployment_exists"
        assert store.deployments.get("reviews") == made

    @pytest.mark.parametrize("name", ["", "-a", "Reviews", "评论", "a/b", "a b", "a" * 64, "../a"])
    def test_takes_plain_names_only(self, deployments: Deployments, name: str) -> None:
        """What cannot stand in a path cannot name a deployment."""
        with pytest.raises(InvalidInputError) as caught:
            create(deployments, name)
        assert caught.value.code == "name_invalid"

    def test_needs_the_model(self, deployments: Deployments) -> None:
        """A deployment of a model that is not there is refused."""
        with pytest.raises(NotFoundError) as caught:
            deployments.create(by("olga"), name="a", model="nobody", alias="champion", config={})
        assert caught.value.code == "model_not_found"

    def test_does_not_happen_when_the_ledger_fails(
        self, store: Store, deployments: Deployments, recorder: MemoryRecorder
    ) -> None:
        """Neither the deployment nor its release is there without a record."""
        recorder.is_failing = True

        with pytest.raises(LedgerUnavailableError):
            create(deployments)
        assert store.deployments.find("reviews") is None
        assert store.releases.find("reviews", 1) is None


class TestConfigure:
    def test_publishes_the_next_release(self, store: Store, deployments: Deployments, recorder: MemoryRecorder) -> None:
        """A change is a new release; the old one stays as it was, and the record says what changed from what."""
        before = create(deployments)
        after = deployments.configure(by("olga"), "reviews", {"queue_limit": 64}, note="smaller queue")

        assert (after.release, after.spec.queue_limit) == (2, 64)
        assert store.releases.get("reviews", 1).spec == before.spec
        assert store.releases.get("reviews", 2).spec == after.spec
        assert store.releases.get("reviews", 2).note == "smaller queue"
        assert recorder.entries[-1].action == "deployment.configured"
        assert recorder.entries[-1].details["changed"] == ["queue_limit: 512 -> 64"]

    @pytest.mark.parametrize(("limits", "wanted"), [((3, 5), 3), ((1, 1), 1), ((1, 8), 2)])
    def test_moves_the_wanted_replicas_into_the_bounds(
        self, deployments: Deployments, limits: tuple[int, int], wanted: int
    ) -> None:
        """New bounds hold at once; inside them, what load called for stays."""
        create(deployments, min_replicas=2, max_replicas=4)
        changes = {"min_replicas": limits[0], "max_replicas": limits[1]}

        assert deployments.configure(by("olga"), "reviews", changes).wanted_replicas == wanted

    @pytest.mark.parametrize(
        ("asked", "code", "param"),
        [
            ({"replicas": 2}, "config_unknown_item", "replicas"),
            ({"min_replicas": 0}, "config_invalid", "min_replicas"),
            ({"min_replicas": 65}, "config_invalid", "min_replicas"),
            ({"min_replicas": 3}, "config_invalid", "min_replicas"),
            ({"threads": "4"}, "config_invalid", "threads"),
            ({"threads": True}, "config_invalid", "threads"),
            ({"threads": 1.0}, "config_invalid", "threads"),
            ({"threads": None}, "config_invalid", "threads"),
            ({"device": "tpu"}, "config_invalid", "device"),
            ({"queue_deadline_ms": 10**30}, "config_invalid", "queue_deadline_ms"),
            ({"model": "other"}, "config_invalid", "model"),
            ({"alias": 5}, "config_invalid", "alias"),
            ({"alias": None}, "config_invalid", "alias"),
            ({"alias": ""}, "config_invalid", "alias"),
            ({"alias": "冠军"}, "config_invalid", "alias"),
        ],
    )
    def test_refuses_what_cannot_be(
        self, store: Store, deployments: Deployments, asked: dict[str, Any], code: str, param: str
    ) -> None:
        """An unknown item, a wrong type and a value out of range name the item, and nothing is published."""
        made = create(deployments)

        with pytest.raises(InvalidInputError) as caught:
            deployments.configure(by("olga"), "reviews", {"queue_limit": 64, **asked})
        assert (caught.value.code, caught.value.param) == (code, param)
        assert caught.value.hint
        assert store.deployments.get("reviews") == made
        assert store.releases.find("reviews", 2) is None

    def test_can_follow_another_alias(self, deployments: Deployments) -> None:
        """Which alias is followed is part of the configuration."""
        create(deployments)

        assert deployments.configure(by("olga"), "reviews", {"alias": "candidate"}).spec.alias == "candidate"

    def test_changes_only_what_was_read(self, store: Store, deployments: Deployments) -> None:
        """Of two people who change what both have read, the second is told to look again (412)."""
        etag = etag_of(create(deployments))
        deployments.configure(by("olga"), "reviews", {"queue_limit": 64}, etag=f'"{etag}"')

        with pytest.raises(PreconditionFailedError) as caught:
            deployments.configure(by("oleg"), "reviews", {"queue_limit": 32}, etag=f'"{etag}"')
        assert (caught.value.code, caught.value.status) == ("precondition_failed", 412)
        assert store.deployments.get("reviews").spec.queue_limit == 64

    def test_needs_no_etag(self, deployments: Deployments) -> None:
        """Who does not care what was there before may say nothing."""
        create(deployments)
        deployments.configure(by("olga"), "reviews", {"queue_limit": 64})

        assert deployments.configure(by("oleg"), "reviews", {"queue_limit": 32}).release == 3

    def test_names_what_does_not_exist(self, deployments: Deployments) -> None:
        """An unknown deployment is not found."""
        for ask in (
            lambda: deployments.configure(by("olga"), "nobody", {}),
            lambda: deployments.rollback(by("olga"), "nobody", 1),
            lambda: deployments.delete(by("olga"), "nobody"),
            lambda: deployments.served_at("nobody", NOW),
        ):
            with pytest.raises(NotFoundError) as caught:
                ask()
            assert caught.value.code == "deployment_not_found"


class TestEtag:
    def test_is_of_the_configuration_only(self, store: Store, deployments: Deployments) -> None:
        """What the autoscaler and the reconciler write makes nobody's reading stale; a release does."""
        made = create(deployments)
        other = DeploymentSpec(model=ModelName("reviews"), queue_limit=1)
        same = Deployment(
            name=made.name, release=1, spec=made.spec, created_at=made.created_at, version=3, wanted_replicas=2
        )

        assert etag_of(made) == etag_of(same)
        assert etag_of(made) != etag_of(Deployment(name=made.name, release=1, spec=other, created_at=made.created_at))
        assert etag_of(made) != etag_of(deployments.configure(by("olga"), "reviews", {}))


class TestRollback:
    def test_makes_a_new_release_with_the_old_content(
        self, store: Store, deployments: Deployments, recorder: MemoryRecorder
    ) -> None:
        """Going back is going forward: the old content under the next number, which says where it came from."""
        first = create(deployments)
        deployments.configure(by("olga"), "reviews", {"queue_limit": 64})
        back = deployments.rollback(by("oleg"), "reviews", 1, "the queue was too small")

        assert (back.release, back.spec) == (3, first.spec)
        release = store.releases.get("reviews", 3)
        assert (release.rolled_back_to, release.note, release.created_by) == (1, "the queue was too small", "oleg")
        assert [r.number for r in store.releases.iter(deployment="reviews")] == [1, 2, 3]
        assert recorder.entries[-1].action == "deployment.rolled_back"
        assert recorder.entries[-1].details["changed"] == ["queue_limit: 64 -> 512"]

    def test_names_a_release_that_is_not_there(self, store: Store, deployments: Deployments) -> None:
        """Nothing changes when the release does not exist."""
        made = create(deployments)

        with pytest.raises(NotFoundError) as caught:
            deployments.rollback(by("olga"), "reviews", 7)
        assert caught.value.code == "release_not_found"
        assert store.deployments.get("reviews") == made


class TestDelete:
    def test_removes_the_deployment_and_keeps_its_story(
        self, store: Store, deployments: Deployments, recorder: MemoryRecorder
    ) -> None:
        """The name is free again, beginning with release 1; every release is in the ledger."""
        create(deployments)
        deployments.configure(by("olga"), "reviews", {"queue_limit": 64})
        deployments.delete(by("olga"), "reviews")

        assert store.deployments.find("reviews") is None
        assert list(store.releases.iter(deployment="reviews")) == []
        assert recorder.actions()[-3:] == ["deployment.created", "deployment.configured", "deployment.deleted"]
        assert create(deployments).release == 1

    def test_does_not_happen_when_the_ledger_fails(
        self, store: Store, deployments: Deployments, recorder: MemoryRecorder
    ) -> None:
        """A deployment that cannot be accounted for goes on."""
        made = create(deployments)
        recorder.is_failing = True

        with pytest.raises(LedgerUnavailableError):
            deployments.delete(by("olga"), "reviews")
        assert store.deployments.get("reviews") == made
        assert store.releases.get("reviews", 1).spec == made.spec


class TestServedAt:
    @pytest.fixture
    def story(
        self, store: Store, registry: Registry, promotions: Promotions, deployments: Deployments, version: int
    ) -> tuple[list[Promotion], list[Release]]:
        """Version 1 promoted, deployed, version 2 promoted, configured, another alias followed, and back."""

        def promote(number: int, alias: str) -> Promotion:
            return promotions.request(
                by("alice"), model="reviews", version=number, alias=alias, policy=POLICY, may_approve_itself=True
            )

        moves = [promote(version, "champion")]
        create(deployments)
        moves.append(promote(add_version(registry), "champion"))
        deployments.configure(by("olga"), "reviews", {"queue_limit": 64})
        moves.append(promote(add_version(registry), "candidate"))
        deployments.configure(by("olga"), "reviews", {"alias": "candidate"})
        deployments.rollback(by("olga"), "reviews", 2)
        return moves, list(store.releases.iter(deployment="reviews"))

    def test_tells_the_version_and_the_release_of_every_instant(
        self, deployments: Deployments, story: tuple[list[Promotion], list[Release]]
    ) -> None:
        """At each moment of its life: which promotion, so which version, under which configuration."""
        moves, releases = story

        def at(moment: datetime | None) -> tuple[int | None, int | None]:
            assert moment is not None
            promotion, release = deployments.served_at("reviews", moment)
            return promotion.version if promotion else None, release.number if release else None

        assert at(releases[0].created_at - MOMENT) == (None, None)
        assert at(releases[0].created_at) == (1, 1)
        assert at(moves[1].decided_at and moves[1].decided_at - MOMENT) == (1, 1)
        assert at(moves[1].decided_at) == (2, 1)
        assert at(releases[1].created_at) == (2, 2)
        assert at(moves[2].decided_at) == (2, 2)
        assert at(releases[2].created_at) == (3, 3)
        assert at(releases[3].created_at) == (2, 4)
        assert at(releases[3].created_at + timedelta(days=365)) == (2, 4)

    def test_knows_no_version_before_a_promotion(self, store: Store, deployments: Deployments) -> None:
        """A deployment that waits for its first promotion has a release and serves nothing."""
        made = create(deployments)

        promotion, release = deployments.served_at("reviews", made.created_at + timedelta(seconds=9))
        assert promotion is None
        assert release == store.releases.get("reviews", 1)
