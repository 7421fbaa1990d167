"""Recipes: what can be said, what cannot, and what the refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanlin.domain import InvalidInputError
from hanlin.training import Recipe
from hanlin.training.recipe import RANGES


class TestRecipe:
    def test_nothing_said_gives_the_defaults(self) -> None:
        """An empty recipe works, and a worker's threads count where the recipe says nothing."""
        assert Recipe.of({}) == Recipe()
        assert Recipe.of({}, threads=2).threads == 2
        assert Recipe.of({"threads": 1}, threads=2).threads == 1

    def test_what_is_said_replaces_a_default(self) -> None:
        """Each item stands for itself; a whole number will do where a number is wanted."""
        recipe = Recipe.of({"epochs": 2, "layers": 6, "precision": "fp32"})

        assert (recipe.epochs, recipe.layers, recipe.precision) == (2, 6, "fp32")
        assert recipe.batch_size == Recipe().batch_size

    def test_survives_json(self) -> None:
        """A recipe in a checkpoint or a lineage is the same recipe."""
        recipe = Recipe.of({"learning_rate": 3e-5, "seed": 2**31 - 1})

        assert Recipe.of(json.loads(json.dumps(recipe.as_dict()))) == recipe

    def test_an_unknown_item_is_named_with_those_there_are(self) -> None:
        """A misspelt item is not ignored."""
        with pytest.raises(InvalidInputError) as caught:
            Recipe.of({"learning_rat": 1e-4})

        assert (caught.value.code, caught.value.param) == ("recipe_invalid", "learning_rat")
        assert "'learning_rat'" in caught.value.message
        assert "learning_rate" in caught.value.hint

    @pytest.mark.parametrize(
        ("name", "value", "hint"),
        [
            ("epochs", 0, "it must be from 0.01 to 100"),
            ("epochs", -1.0, "it must be from 0.01 to 100"),
            ("epochs", float("nan"), "it must be from 0.01 to 100"),
            ("epochs", float("inf"), "it must be from 0.01 to 100"),
            ("epochs", "3", "it must be a number"),
            ("epochs", None, "it must be a number"),
            ("epochs", True, "it must be a number"),
            ("layers", 2.5, "it must be a whole number"),
            ("layers", 49, "it must be from 0 to 48"),
            ("batch_size", 10**400, "it must be from 1 to 1,024"),
            ("seed", 2**31, "it must be from 0 to 2,147,483,647"),
            ("time_budget_s", 4, "it must be from 5 to 1,000,000"),
            ("learning_rate", 1, "it must be from 1e-07 to 0.1"),
            ("max_length", 513, "it must be from 8 to 512"),
            ("hidden_size", 100, "it must be a multiple of 12, the number of attention heads"),
            ("precision", "fp16", "it must be one of auto, fp32, bf16"),
            ("device", ["cpu"], "it must be one of auto, cpu, cuda"),
            ("task", "generation", "it must be one of classification"),
        ],
    )
    def test_a_refusal_says_what_was_found_and_what_would_be_right(self, name: str, value: Any, hint: str) -> None:
        """Whoever wrote the recipe can mend it from the message alone."""
        with pytest.raises(InvalidInputError) as caught:
            Recipe.of({name: value})

        assert (caught.value.code, caught.value.param) == ("recipe_invalid", name)
        assert caught.value.message == f"{name} is {value!r}"
        assert caught.value.hint == hint

    @given(name=st.sampled_from(sorted(RANGES)), upper=st.booleans())
    def test_the_ends_of_every_range_are_within_it(self, name: str, upper: bool) -> None:
        """What a hint offers is accepted."""
        value = RANGES[name][upper]
        default = getattr(Recipe(), name)

        assert getattr(Recipe.of({name: type(default)(value)}), name) == value
