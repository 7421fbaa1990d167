"""How much training fits the time: pure calculations over one measurement."""

from __future__ import annotations

from dataclasses import replace

from hanlin.training.recipe import Recipe

LAYER_CHOICES = (24, 20, 16, 12, 10, 8, 6, 5, 4, 3, 2)
FEWEST_EPOCHS = 1.0  # more layers are worth more than more epochs (docs/notes/training.md)
SHARE_FOR_FEWEST = 0.75  # of the time budget, so that a good part of a second epoch fits too
SHARE_FOR_STEPS = 0.92  # of the time budget; the rest is for validation and writing
VALIDATION_COST = 1.06  # of an epoch's time, spread over its steps


def decide_layers(recipe: Recipe, most: int, seconds_per_epoch: float) -> int:
    """
    Return the most layers with which the fewest epochs fit the time budget.

    *seconds_per_epoch* is that of all *most* layers; embeddings and head together cost about half a layer. Where
    nothing fits, the smallest choice is returned: the steps are then cut to the time.
    """
    seconds = seconds_per_epoch * min(FEWEST_EPOCHS, recipe.epochs)
    choices = [most, *(choice for choice in LAYER_CHOICES if choice < most)]
    for layers in choices:
        if seconds * (layers + 0.5) / (most + 0.5) <= recipe.time_budget_s * SHARE_FOR_FEWEST:
            return layers
    return choices[-1]


def with_frozen_layers(recipe: Recipe) -> Recipe:
    """Return *recipe*, whose layers are settled, with its frozen layers settled too: half of them where left open."""
    frozen = recipe.layers // 2 if recipe.frozen_layers < 0 else min(recipe.frozen_layers, recipe.layers)
    return replace(recipe, frozen_layers=frozen)


def decide_steps(recipe: Recipe, steps_per_epoch: int, seconds_per_epoch: float, spent_s: float) -> int:
    """Return how many steps fit what the time budget leaves after *spent_s*; never more than ``recipe.epochs``."""
    left = recipe.time_budget_s * SHARE_FOR_STEPS - spent_s
    epochs = min(recipe.epochs, max(0.05, left / (seconds_per_epoch * VALIDATION_COST)))
    return max(1, round(steps_per_epoch * epochs))


def cut_steps(recipe: Recipe, step: int, total: int, pace_s: float, spent_s: float) -> int:
    """
    Return how many steps there will be in all, now that one takes *pace_s*: *total* where the budget still holds them.

    A machine that got busier gets fewer steps, at least one more; the learning rate then falls the faster.
    """
    if spent_s + (total - step) * pace_s <= recipe.time_budget_s:
        return total
    left = recipe.time_budget_s * SHARE_FOR_STEPS - spent_s
    return min(total, step + max(1, int(left / pace_s)))


def learning_rate_at(recipe: Recipe, step: int, total: int) -> float:
    """Return the learning rate of *step* of *total*: a linear rise over the warm-up, then linearly to zero."""
    warmup = max(1, round(total * recipe.warmup))
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    return recipe.learning_rate * max(0.0, (total - step) / max(1, total - warmup))
