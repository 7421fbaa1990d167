"""What is wanted, step by step: nobody waits for an update, and every update ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.control import Drain, Start, Switch, Wanted, plan
from hanlin.control.planning import Action
from hanlin.domain import DeploymentName, Digest, Replica, ReplicaId, ReplicaState

STARTING, READY, DRAINING = ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING
ROUNDS_AT_MOST = 6  # start, become ready, switch, drain, leave, nothing


def replica(name: str, version: int = 1, generation: int = 1, state: ReplicaState = READY) -> Replica:
    """Return a replica of the deployment that these tests plan for."""
    return Replica(
        id=ReplicaId(name),
        deployment=DeploymentName("reviews"),
        version=version,
        digest=Digest("sha256:0"),
        generation=generation,
        state=state,
    )


ONE, TWO = Wanted(1, 1, 1), Wanted(1, 1, 2)
NEXT = Wanted(2, 1, 1)  # another version
TURNED = Wanted(1, 2, 1)  # the same version under another configuration


class TestPlan:
    @pytest.mark.parametrize(
        ("wanted", "serving", "replicas", "actions"),
        [
            pytest.param(TWO, None, [], [Start(), Start(), Switch(1)], id="first time: start all, name the version"),
            pytest.param(ONE, 1, [replica("a")], [], id="reached: nothing"),
            pytest.param(ONE, 1, [replica("a", state=STARTING)], [], id="one that starts counts as there"),
            pytest.param(ONE, 1, [replica("a", state=DRAINING)], [Start()], id="one that leaves does not"),
            pytest.param(ONE, 1, [replica("a", state=ReplicaState.FAILED)], [Start()], id="one that failed does not"),
            pytest.param(ONE, 1, [replica("a"), replica("b")], [Drain(ReplicaId("b"))], id="one too many leaves"),
            pytest.param(
                ONE, 1, [replica("a", state=STARTING), replica("b")], [Drain(ReplicaId("a"))], id="the ready one stays"
            ),
            pytest.param(NEXT, 1, [replica("a")], [Start()], id="new version: start it, the old one serves"),
            pytest.param(NEXT, 1, [replica("a"), replica("b", 2, state=STARTING)], [], id="new version starting: wait"),
            pytest.param(NEXT, 1, [replica("a"), replica("b", 2)], [Switch(2)], id="new version ready: switch first"),
            pytest.param(
                NEXT, 2, [replica("a"), replica("b", 2)], [Drain(ReplicaId("a"))], id="switched: the old one leaves"
            ),
            pytest.param(
                Wanted(2, 1, 4),
                1,
                [replica("a"), replica("b", 2)],
                [Start(), Start(), Start(), Switch(2)],
                id="switch once as many are ready as before, though more are wanted",
            ),
            pytest.param(
                NEXT, 1, [replica("b", 2)], [Switch(2)], id="the old version is gone: switch to what is ready"
            ),
            pytest.param(NEXT, 1, [], [Start()], id="nothing there: no switch to what cannot answer"),
            pytest.param(TURNED, 1, [replica("a")], [Start()], id="new configuration: start one, keep the old"),
            pytest.param(
                TURNED,
                1,
                [replica("a"), replica("b", generation=2)],
                [Drain(ReplicaId("a"))],
                id="new configuration ready: the old one leaves",
            ),
            pytest.param(
                Wanted(1, 2, 2),
                1,
                [replica("a"), replica("b"), replica("c", generation=2)],
                [Start(), Drain(ReplicaId("a"))],
                id="new configuration: only what is spare leaves",
            ),
            pytest.param(
                TURNED,
                1,
                [replica("a"), replica("b", state=STARTING)],
                [Start(), Drain(ReplicaId("b"))],
                id="an old one that only starts is not waited for",
            ),
        ],
    )
    def test_names_the_next_actions(
        self, wanted: Wanted, serving: int | None, replicas: list[Replica], actions: list[Action]
    ) -> None:
        """Each situation has one right set of next actions."""
        assert plan(wanted, serving, replicas) == actions

    def test_is_pure(self) -> None:
        """The same situation gives the same actions, and the list of replicas is left as it was."""
        replicas = [replica("b", state=STARTING), replica("a"), replica("c", 2)]
        before = list(replicas)

        assert plan(ONE, 1, replicas) == plan(ONE, 1, replicas)
        assert replicas == before


@dataclass
class Fleet:
    """A fleet in which starts and ends take as long as the test says."""

    serving: int | None
    replicas: list[Replica]

    def ready(self) -> int:
        """Count the replicas that answer requests."""
        return sum(r.version == self.serving and r.state is READY for r in self.replicas)

    def act(self, wanted: Wanted, actions: Sequence[Action], names: count[int]) -> None:
        """Do what was planned."""
        for action in actions:
            if isinstance(action, Start):
                started = replica(f"new-{next(names)}", wanted.version, wanted.generation, STARTING)
                self.replicas.append(started)
            elif isinstance(action, Drain):
                self.replicas = [r.moved(DRAINING) if r.id == action.replica else r for r in self.replicas]
            else:
                self.serving = action.version

    def advance(self, lucky: int) -> None:
        """Let those that leave be gone, and every starting one whose bit in *lucky* is set become ready."""
        self.replicas = [r for r in self.replicas if r.state is not DRAINING]
        self.replicas = [
            r.moved(READY) if r.state is STARTING and lucky >> place & 1 else r for place, r in enumerate(self.replicas)
        ]


versions = st.integers(1, 3)
wanted_states = st.builds(Wanted, versions, st.integers(1, 2), st.integers(1, 4))
running = st.lists(
    st.builds(
        replica,
        name=st.just("old"),
        version=versions,
        generation=st.integers(1, 2),
        state=st.sampled_from(ReplicaState),
    ),
    max_size=6,
).map(lambda replicas: [replace(r, id=ReplicaId(f"old-{place}")) for place, r in enumerate(replicas)])


@given(
    wanted=wanted_states,
    serving=st.none() | versions,
    replicas=running,
    luck=st.lists(st.integers(0, 2**10 - 1), max_size=5),
)
def test_converges_without_giving_up_capacity(
    wanted: Wanted, serving: int | None, replicas: list[Replica], luck: list[int]
) -> None:
    """
    Whatever runs at first, and in whatever order replicas become ready, repeated plans reach what is wanted, and on
    the way the ready replicas of the serving version never fall below what is wanted or, if fewer, what there was.
    """
    fleet, names = Fleet(serving, replicas), count()
    for lucky in [*luck, *[-1] * ROUNDS_AT_MOST]:
        before = fleet.ready()
        fleet.act(wanted, plan(wanted, fleet.serving, fleet.replicas), names)
        assert fleet.ready() >= min(wanted.count, before)
        fleet.advance(lucky)

    live = [r for r in fleet.replicas if r.state in {STARTING, READY}]
    assert plan(wanted, fleet.serving, fleet.replicas) == []
    assert fleet.serving == wanted.version
    assert [(r.version, r.generation, r.state) for r in live] == [
        (wanted.version, wanted.generation, READY)
    ] * wanted.count
