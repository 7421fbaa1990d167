"""How much training fits the time: decided without a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.training import Recipe
from hanlin.training.machine import choose_threads, thread_choices
from hanlin.training.planning import cut_steps, decide_layers, decide_steps, learning_rate_at, with_frozen_layers

seconds = st.floats(1e-3, 1e5)
budgets = st.floats(5, 1e5)


def recipe(**changes: float) -> Recipe:
    return Recipe.of({"epochs": 3.0, "time_budget_s": 200.0, **changes})


class TestDecideLayers:
    @pytest.mark.parametrize(
        ("seconds_per_epoch", "layers"), [(1, 12), (149, 12), (151, 10), (200, 8), (280, 6), (1000, 2), (1e6, 2)]
    )
    def test_fewer_layers_where_an_epoch_takes_longer(self, seconds_per_epoch: float, layers: int) -> None:
        """One epoch has to fit into three quarters of 200 s; below two layers nothing is gained."""
        assert decide_layers(recipe(), 12, seconds_per_epoch) == layers

    def test_all_layers_of_any_base_are_kept_where_there_is_time(self) -> None:
        """No size of base is cut for want of a choice."""
        assert [decide_layers(recipe(), most, 0.1) for most in (1, 2, 7, 12, 24, 36)] == [1, 2, 7, 12, 24, 36]

    def test_less_than_the_fewest_epochs_is_enough_where_less_is_asked_for(self) -> None:
        """Half an epoch takes half the time of one."""
        assert decide_layers(recipe(epochs=0.5), 12, 300) == 12
        assert decide_layers(recipe(epochs=1.0), 12, 300) < 12

    @given(most=st.integers(1, 48), epoch_s=seconds, budget_s=budgets)
    def test_fits_or_is_the_least(self, most: int, epoch_s: float, budget_s: float) -> None:
        """What is chosen exists in the base and, unless it is the least, fits the budget."""
        chosen = decide_layers(recipe(time_budget_s=budget_s), most, epoch_s)

        assert 1 <= chosen <= most
        assert chosen <= 2 or epoch_s * (chosen + 0.5) / (most + 0.5) <= budget_s


class TestFrozenLayers:
    @pytest.mark.parametrize(("layers", "wish", "frozen"), [(8, -1, 4), (5, -1, 2), (1, -1, 0), (8, 3, 3), (4, 9, 4)])
    def test_are_the_lower_half_where_left_open(self, layers: int, wish: int, frozen: int) -> None:
        """A wish is kept as far as there are layers."""
        assert with_frozen_layers(recipe(layers=layers, frozen_layers=wish)).frozen_layers == frozen


class TestDecideSteps:
    def test_all_epochs_where_there_is_time(self) -> None:
        """A generous budget trains what the recipe says and no more."""
        assert decide_steps(recipe(), 100, 1.0, 10.0) == 300

    def test_what_fits_where_there_is_not(self) -> None:
        """200 s, of which 16 go on writing and 25 are spent, hold one and a half epochs of 100 s (106 with checks)."""
        assert decide_steps(recipe(), 1000, 100.0, 25.0) == 1500

    def test_time_already_spent_counts(self) -> None:
        """A slow start means fewer steps; a start past the budget still takes some, so that there is a model."""
        later = [decide_steps(recipe(), 1000, 100.0, spent_s) for spent_s in (0, 60, 120, 500)]

        assert later == sorted(later, reverse=True)
        assert later[-1] == 50

    @given(per_epoch=st.integers(1, 10_000), epoch_s=seconds, budget_s=budgets, spent_s=st.floats(0, 1e4))
    def test_never_more_than_the_recipe_or_the_time(
        self, per_epoch: int, epoch_s: float, budget_s: float, spent_s: float
    ) -> None:
        """Steps stay within the epochs asked for and, past the least, within the budget."""
        plan = recipe(time_budget_s=budget_s)
        steps = decide_steps(plan, per_epoch, epoch_s, spent_s)

        assert 1 <= steps <= per_epoch * plan.epochs
        least = max(1, round(per_epoch * 0.05))
        assert steps <= least or spent_s + (steps - 0.5) / per_epoch * epoch_s <= budget_s


class TestLearningRate:
    def test_rises_over_the_warmup_then_falls_to_zero(self) -> None:
        """A tenth of the steps leads up to the full rate; the step behind the last would have none."""
        rates = [learning_rate_at(recipe(learning_rate=0.1), step, 100) for step in range(101)]

        assert rates[0] == pytest.approx(0.01)
        assert rates[9] == rates[10] == 0.1
        assert rates[55] == pytest.approx(0.05)
        assert rates[100] == 0

    @pytest.mark.parametrize("total", [1, 2, 3])
    def test_the_shortest_runs_learn_something(self, total: int) -> None:
        """No step of a run is wasted on a rate of zero."""
        assert all(learning_rate_at(recipe(), step, total) > 0 for step in range(total))


class TestCutSteps:
    @pytest.mark.parametrize(
        ("step", "pace_s", "spent_s", "total"),
        [
            (100, 0.1, 20.0, 1000),
            (100, 0.2, 20.0, 1000),
            (100, 0.4, 20.0, 510),
            (900, 1.0, 300.0, 901),
            (0, 9.0, 5.0, 19),
        ],
    )
    def test_a_busier_machine_takes_fewer(self, step: int, pace_s: float, spent_s: float, total: int) -> None:
        """What was planned stays while 200 s hold it; else what fits, and one more step at least."""
        assert cut_steps(recipe(), step, 1000, pace_s, spent_s) == total

    @given(step=st.integers(0, 999), pace_s=st.floats(1e-4, 1e3), spent_s=st.floats(0, 1e4))
    def test_never_adds_nor_ends_at_once(self, step: int, pace_s: float, spent_s: float) -> None:
        """There is always a next step, and never more than planned."""
        assert step < cut_steps(recipe(), step, 1000, pace_s, spent_s) <= 1000


class TestThreads:
    def test_all_and_all_but_one_are_worth_timing(self) -> None:
        """A wish is not second-guessed; one processor leaves nothing to choose."""
        most = choose_threads(0)

        assert thread_choices(3) == (3,)
        assert thread_choices(0) == ((most, most - 1) if most > 1 else (1,))
