"""How fast a run goes, and with how many threads it goes fastest: found out while it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

WINDOW_S = 3.0
WINDOWS = 8  # between two looks at what the other numbers of threads would give
MUCH_SLOWER = 1.4


@dataclass(slots=True)
class ThreadTuner:
    """
    Watches the pace of windows of work and says how many threads the next one should have.

    Threads of one matrix product wait for each other, so that a neighbour who needs a processor now and then can make
    two threads several times slower than one. Every few windows, and at once when the pace drops, the next number in
    *choices* is tried for one window; the fastest stays.
    """

    choices: Sequence[int]
    current: int
    _paces: dict[int, float] = field(default_factory=dict)
    _untried: list[int] = field(default_factory=list)
    _windows: int = 0

    def next(self, pace: float) -> int:
        """Take the *pace* of the window that ended (time per unit of work) and return the threads of the next."""
        before = self._paces.get(self.current, pace)
        self._paces[self.current] = pace
        if self._untried:
            return self._try()
        if self._windows < 0:  # a round of trials has just ended
            self._windows = 0
            self.current = min(self._paces, key=lambda threads: self._paces[threads])
            return self.current
        self._windows += 1
        if self._windows >= WINDOWS or pace > MUCH_SLOWER * before:
            self._untried = [threads for threads in self.choices if threads != self.current]
            if self._untried:
                return self._try()
        return self.current

    def _try(self) -> int:
        self.current, self._windows = self._untried.pop(0), -1
        return self.current


class Pace:
    """Counts what a run does, in windows of a few seconds; the clock is the caller's (monotonic seconds)."""

    def __init__(self, threads: ThreadTuner, now: float) -> None:
        self.threads = threads
        self._began = self._window_began = now
        self._steps = self._tokens = 0

    def worked(self, tokens: int, now: float) -> float | None:
        """Count one step of *tokens*; at the end of a window return the seconds per step so far, else None."""
        self._steps += 1
        self._tokens += tokens
        if now - self._window_began < WINDOW_S:
            return None
        self.threads.next((now - self._window_began) / self._tokens)
        self.resume(now)
        return (now - self._began) / self._steps

    def resume(self, now: float) -> None:
        """Begin a new window: what went on since the last step was something else."""
        self._window_began, self._tokens = now, 0
