"""How fast work goes, and how long it will still take."""

from __future__ import annotations

from collections import deque
from typing import Any

from hanlin.workflows.events import ProgressEvent

WINDOW_S = 30.0


class Pace:
    """
    Turns successive progress events into what a task shows.

    The rate is measured over the last half minute of this attempt, so that work that was resumed at 80 % is not
    taken for fast, and one slow phase does not spoil the estimate of the next.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()
        self._phase: tuple[float, str] | None = None

    def seen(self, event: ProgressEvent) -> dict[str, Any]:
        """Return done, total, unit, message and, once they can be known, rate_per_s and time_left_s."""
        self._add(event)
        shown: dict[str, Any] = {
            "done": event.done,
            "total": event.total,
            "unit": event.unit,
            "message": event.message,
        }
        (first_at, first_done), (last_at, last_done) = self._samples[0], self._samples[-1]
        if last_at > first_at and last_done > first_done:
            rate = (last_done - first_done) / (last_at - first_at)
            shown |= {"rate_per_s": round(rate, 3), "time_left_s": round(max(0.0, event.total - event.done) / rate, 1)}
        return shown

    def _add(self, event: ProgressEvent) -> None:
        phase = (event.total, event.unit)
        if phase != self._phase or (self._samples and event.done < self._samples[-1][1]):
            self._samples.clear()
            self._phase = phase
        self._samples.append((event.at, event.done))
        while len(self._samples) > 2 and self._samples[1][0] < event.at - WINDOW_S:
            self._samples.popleft()
