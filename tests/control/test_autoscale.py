"""How many replicas load calls for: up at once, down with patience, never outside the bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.control import Autoscaler, Demand, decide_replicas
from hanlin.domain import DeploymentSpec, ModelName

SPEC = DeploymentSpec(model=ModelName("reviews"), min_replicas=1, max_replicas=6, target_concurrency=10)
NOW = 1000.0


def steady(texts: float, *, since_s: float, until_s: float = 0.0) -> list[Demand]:
    """Return a demand of *texts* each second, from *since_s* before now to *until_s* before now."""
    return [Demand(NOW - age, texts) for age in range(int(since_s), int(until_s) - 1, -1)]


class TestDecideReplicas:
    @pytest.mark.parametrize(
        ("current", "history", "wanted"),
        [
            pytest.param(1, [], 1, id="nothing seen: as it is"),
            pytest.param(3, [], 3, id="nothing seen yet gives nothing up"),
            pytest.param(1, steady(0, since_s=60), 1, id="nothing to do: the minimum"),
            pytest.param(1, steady(10, since_s=2), 1, id="just what one can take"),
            pytest.param(1, steady(11, since_s=2), 2, id="one more than one can take"),
            pytest.param(1, steady(35, since_s=2), 4, id="up at once, by as many as it takes"),
            pytest.param(1, [Demand(NOW, 60)], 6, id="the first look counts at once"),
            pytest.param(1, steady(1000, since_s=2), 6, id="never above the maximum"),
            pytest.param(
                1, [Demand(NOW - 2, 0), Demand(NOW - 1, 0), Demand(NOW, 45)], 2, id="the average of 3 s, not a peak"
            ),
            pytest.param(1, [Demand(NOW - 3, 1000), *steady(5, since_s=2)], 1, id="what is older than 3 s is past"),
            pytest.param(4, steady(0, since_s=10), 4, id="watched for 10 s only: nothing is given up"),
            pytest.param(4, steady(0, since_s=29), 4, id="calm for 29 s: not yet"),
            pytest.param(4, steady(0, since_s=31), 1, id="calm for 30 s: down"),
            pytest.param(4, steady(15, since_s=40), 2, id="down to what is asked for, no further"),
            pytest.param(
                4,
                [*steady(35, since_s=60, until_s=20), *steady(0, since_s=19)],
                4,
                id="a pause of 20 s costs no replica",
            ),
            pytest.param(
                5,
                [*steady(45, since_s=90, until_s=31), *steady(25, since_s=30, until_s=10), *steady(0, since_s=9)],
                3,
                id="down to the highest that the last 30 s would have asked for",
            ),
            pytest.param(2, [*steady(60, since_s=60, until_s=5), *steady(0, since_s=4)], 2, id="calm never scales up"),
        ],
    )
    def test_decides(self, current: int, history: list[Demand], wanted: int) -> None:
        """Up at once on the average of 3 s, down only after 30 s of calm, always inside the bounds."""
        assert decide_replicas(SPEC, current, history, NOW) == wanted

    @pytest.mark.parametrize(("current", "wanted"), [(1, 2), (2, 2), (5, 5), (9, 5)])
    def test_follows_new_bounds_at_once(self, current: int, wanted: int) -> None:
        """After the bounds were moved, the number moves with them without waiting for calm."""
        spec = SPEC.changed({"min_replicas": 2, "max_replicas": 5})

        assert decide_replicas(spec, current, [], NOW) == wanted


@given(
    bounds=st.lists(st.integers(1, 64), min_size=2, max_size=2).map(sorted),
    target=st.integers(1, 1024),
    current=st.integers(0, 100),
    history=st.lists(st.tuples(st.floats(0, 120), st.floats(0, 1e6)), max_size=40),
)
def test_stays_within_the_bounds(
    bounds: list[int], target: int, current: int, history: list[tuple[float, float]]
) -> None:
    """Whatever the demand was, the number is between min_replicas and max_replicas."""
    spec = SPEC.changed({"min_replicas": bounds[0], "max_replicas": bounds[1], "target_concurrency": target})
    demands = [Demand(NOW - age, texts) for age, texts in sorted(history, reverse=True)]

    assert bounds[0] <= decide_replicas(spec, current, demands, NOW) <= bounds[1]


class TestAutoscaler:
    def test_keeps_each_deployment_apart(self) -> None:
        """The demand on one deployment scales no other."""
        autoscaler = Autoscaler()
        autoscaler.observe("busy", Demand(NOW, 40))
        autoscaler.observe("idle", Demand(NOW, 0))

        assert autoscaler.decide("busy", SPEC, 1, NOW) == 4
        assert autoscaler.decide("idle", SPEC, 1, NOW) == 1
        assert autoscaler.decide("unknown", SPEC, 1, NOW) == 1

    def test_goes_up_and_comes_down(self) -> None:
        """A burst brings replicas at once; they leave 30 s after its last text, and not before."""
        autoscaler, wanted, seen = Autoscaler(), 1, {}
        for second in range(120):
            at = NOW + second
            autoscaler.observe("reviews", Demand(at, 60 if 40 <= second < 50 else 0))
            wanted = seen[second] = autoscaler.decide("reviews", SPEC, wanted, at)

        assert [seen[second] for second in (39, 40, 42, 49, 78)] == [1, 2, 6, 6, 6]
        assert [seen[second] for second in (80, 119)] == [1, 1]

    def test_forgets_what_the_policy_does_not_look_at(self) -> None:
        """Days of watching keep as much in memory as half a minute."""
        autoscaler = Autoscaler()
        for quarter in range(4 * 3600):
            autoscaler.observe("reviews", Demand(NOW + quarter / 4, 1))

        assert len(autoscaler._history["reviews"]) <= 4 * 30 + 1
