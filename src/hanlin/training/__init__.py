"""Training: base models, recipes, fine-tuning, and pretraining from scratch. Importing it does not import torch."""

from hanlin.training.bases import BaseInfo, BaseManifest, list_bases, pull_base, read_base
from hanlin.training.encoders import longest_input
from hanlin.training.finetune import TrainResult, finetune
from hanlin.training.recipe import Recipe
from hanlin.training.scratch import pretrain

__all__ = [
    "BaseInfo",
    "BaseManifest",
    "Recipe",
    "TrainResult",
    "finetune",
    "list_bases",
    "longest_input",
    "pretrain",
    "pull_base",
    "read_base",
]
