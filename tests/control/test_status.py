"""One word and one sentence for how a deployment is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.control import judge
from hanlin.domain import (
    Deployment,
    DeploymentName,
    DeploymentSpec,
    Digest,
    ModelName,
    Replica,
    ReplicaId,
    ReplicaState,
)

READY, STARTING, DRAINING = ReplicaState.READY, ReplicaState.STARTING, ReplicaState.DRAINING
DEPLOYMENT = Deployment(
    name=DeploymentName("reviews"),
    release=1,
    spec=DeploymentSpec(model=ModelName("reviews")),
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    version=1,
    wanted_replicas=2,
)


def replica(version: int = 1, state: ReplicaState = READY) -> Replica:
    """Return a replica."""
    return Replica(
        id=ReplicaId("a"),
        deployment=DEPLOYMENT.name,
        version=version,
        digest=Digest("sha256:0"),
        generation=1,
        state=state,
    )


class TestJudge:
    @pytest.mark.parametrize(
        ("serves", "wanted", "replicas", "trouble", "state", "message"),
        [
            pytest.param(None, None, [], "", "waiting", "no version of reviews is champion yet", id="no alias"),
            pytest.param(
                None, None, [], "disk", "waiting", "no version of reviews is champion yet", id="still no alias"
            ),
            pytest.param(None, 1, [], "", "updating", "the first replica is starting", id="first start"),
            pytest.param(
                None, 1, [replica(state=STARTING)], "", "updating", "the first replica is starting", id="starting"
            ),
            pytest.param(None, 1, [], "the file is damaged", "failed", "the file is damaged", id="nothing serves"),
            pytest.param(1, 1, [replica(state=STARTING)], "it dies", "failed", "it dies", id="nothing serves any more"),
            pytest.param(
                1, 1, [replica(state=DRAINING)], "", "updating", "the first replica is starting", id="leaving"
            ),
            pytest.param(1, 1, [replica()] * 2, "", "ready", "2 replicas serve version 1", id="as wanted"),
            pytest.param(1, 1, [replica()] * 3, "", "ready", "3 replicas serve version 1", id="more than wanted"),
            pytest.param(1, 1, [replica()], "", "degraded", "1 of 2 replicas are ready", id="fewer than wanted"),
            pytest.param(1, 1, [replica()], "it dies", "degraded", "it dies", id="fewer than wanted, and why"),
            pytest.param(
                1, 2, [replica()] * 2, "", "updating", "version 2 is being brought up", id="another version is wanted"
            ),
            pytest.param(1, 2, [replica()] * 2, "it dies", "updating", "it dies", id="another version cannot start"),
            pytest.param(
                2,
                2,
                [replica(), replica(2), replica(2)],
                "",
                "updating",
                "version 2 is being brought up",
                id="old ones have not left",
            ),
            pytest.param(
                1,
                1,
                [replica(), replica(), replica(state=STARTING)],
                "",
                "updating",
                "a replica with another configuration is starting",
                id="another configuration starts",
            ),
            pytest.param(
                1,
                1,
                [replica(), replica(), replica(state=STARTING)],
                "no such device",
                "updating",
                "no such device",
                id="another configuration cannot start",
            ),
        ],
    )
    def test_says_how_it_is_and_why(
        self,
        serves: int | None,
        wanted: int | None,
        replicas: list[Replica],
        trouble: str,
        state: str,
        message: str,
    ) -> None:
        """The word follows from what serves and what is wanted; the sentence says what people want to know next."""
        assert judge(replace(DEPLOYMENT, version=serves), wanted, replicas, trouble) == (state, message)


@given(
    serves=st.none() | st.integers(1, 2),
    wanted=st.none() | st.integers(1, 2),
    replicas=st.lists(st.builds(replica, st.integers(1, 2), st.sampled_from(ReplicaState)), max_size=4),
    trouble=st.sampled_from(["", "it dies"]),
)
def test_ready_means_ready(serves: int | None, wanted: int | None, replicas: list[Replica], trouble: str) -> None:
    """
    Only what has all its replicas ready under the wanted version, and nothing to complain of, is called ready; only
    what answers nobody is called failed; and there is always a sentence.
    """
    state, message = judge(replace(DEPLOYMENT, version=serves), wanted, replicas, trouble)

    ready = [r for r in replicas if r.state is READY]
    if state == "ready":
        assert serves == wanted
        assert len(ready) >= DEPLOYMENT.wanted_replicas
        assert {r.version for r in ready} == {wanted}
        assert trouble == ""
    if state == "failed":
        assert not ready
    assert state in {"waiting", "failed", "updating", "degraded", "ready"}
    assert message
