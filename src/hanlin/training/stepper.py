"""One optimizer step after another, and what a model is worth between them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from hanlin.training.batches import Examples, collate
from hanlin.training.recipe import Recipe

if TYPE_CHECKING:
    import torch


class Stepper:
    """Optimizes a model by a recipe; the head learns three times as fast as the rest."""

    def __init__(self, model: Any, recipe: Recipe, *, pad_id: int) -> None:
        import torch

        self.model, self.recipe, self.pad_id = model.to(recipe.device), recipe, pad_id
        head = [p for n, p in model.named_parameters() if p.requires_grad and ("classifier" in n or "pooler" in n)]
        known = {id(p) for p in head}
        body = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
        groups = [{"params": body, "scale": 1.0}, {"params": head, "scale": 3.0}]
        self.optimizer = torch.optim.AdamW(
            groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )

    def rate(self, value: float) -> None:
        """Set the learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = value * group["scale"]

    def step(self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> float:
        """Learn from one batch and return its loss."""
        import torch

        ids, mask, labels = (tensor.to(self.recipe.device) for tensor in batch)
        self.model.train()
        with self.autocast():
            loss = self.model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that computes in the recipe's precision."""
        import torch

        if self.recipe.precision != "bf16":
            return nullcontext()
        scope: AbstractContextManager[Any] = torch.autocast(self.recipe.device, dtype=torch.bfloat16)
        return scope


def measure(model: Any, examples: Examples, stepper: Stepper) -> dict[str, float]:
    """Return loss, accuracy and macro-F1 of *model* on *examples*."""
    import torch

    model.eval()
    order = sorted(range(len(examples)), key=lambda i: len(examples.ids[i]))
    predicted, losses = np.zeros(len(examples), dtype=np.int64), 0.0
    with torch.inference_mode(), stepper.autocast():
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            ids, mask, labels = (t.to(stepper.recipe.device) for t in collate(examples, chosen, stepper.pad_id))
            result = model(input_ids=ids, attention_mask=mask, labels=labels)
            predicted[chosen] = result.logits.argmax(-1).cpu().numpy()
            losses += float(result.loss) * len(chosen)
    truth = np.array(examples.labels)
    f1 = []
    for label in np.union1d(truth, predicted):
        hits = int(((predicted == label) & (truth == label)).sum())
        f1.append(2 * hits / max(1, int((predicted == label).sum()) + int((truth == label).sum())))
    return {
        "validation_loss": losses / len(examples),
        "validation_accuracy": float((predicted == truth).mean()),
        "validation_macro_f1": float(np.mean(f1)),
    }
