"""How long work tells what it is doing, whoever listens."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives the progress, metrics and log lines of one piece of long work; none of the calls blocks for long."""

    def progress(self, done: float, total: float, unit: str, message: str = "") -> None:
        """Say that *done* of *total* (both in *unit*, e.g. ``step``, ``row``, ``byte``) are behind us."""

    def metric(self, name: str, step: int, value: float) -> None:
        """Add one point to the series *name* (``train_loss``, ``validation_accuracy``, ``learning_rate`` …)."""

    def log(self, message: str, **fields: object) -> None:
        """Write one line: a constant message with its data as fields."""


class SilentReporter:
    """A reporter for callers who do not want to know."""

    def progress(self, done: float, total: float, unit: str, message: str = "") -> None:
        """Ignore it."""

    def metric(self, name: str, step: int, value: float) -> None:
        """Ignore it."""

    def log(self, message: str, **fields: object) -> None:
        """Ignore it."""
