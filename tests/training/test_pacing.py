"""How many threads a run should have: decided without a clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hanlin.training.pacing import MUCH_SLOWER, WINDOW_S, WINDOWS, Pace, ThreadTuner

Machine = Callable[[int, int], float]


def run(tuner: ThreadTuner, pace: Machine, windows: int) -> list[int]:
    """Let the tuner watch a machine whose pace depends on window and threads; return the threads of each window."""
    used = []
    for window in range(windows):
        used.append(tuner.current)
        tuner.next(pace(window, tuner.current))
    return used


class TestThreadTuner:
    def test_stays_with_what_is_fastest(self) -> None:
        """On a machine of its own two threads win; one is tried for a window now and then."""
        used = run(ThreadTuner((2, 1), 2), lambda _, threads: 1 / threads, 4 * WINDOWS)

        assert used.count(1) == 4 * WINDOWS // (WINDOWS + 1)

    def test_gives_way_at_once_to_a_busy_neighbour(self) -> None:
        """Two threads that wait for each other are left after one bad window."""
        used = run(ThreadTuner((2, 1), 2), lambda window, threads: 5.0 if window >= 3 and threads == 2 else 1.0, 6)

        assert used == [2, 2, 2, 2, 1, 1]

    def test_comes_back_when_the_neighbour_has_gone(self) -> None:
        """The number that was left is tried again, and taken when it is faster again."""
        used = run(ThreadTuner((2, 1), 1), lambda _, threads: 1 / threads, WINDOWS + 3)

        assert used[-1] == 2

    def test_has_nothing_to_choose_from_one(self) -> None:
        """A wish, or a single processor, is never second-guessed."""
        used = run(ThreadTuner((3,), 3), lambda window, _: MUCH_SLOWER**window, 3 * WINDOWS)

        assert set(used) == {3}


class TestPace:
    def test_tells_the_mean_at_the_end_of_each_window(self) -> None:
        """Ten steps in a window's time: a tenth of it each; between windows there is nothing to tell."""
        pace = Pace(ThreadTuner((1,), 1), 100.0)
        told = [pace.worked(500, 100.0 + WINDOW_S * step / 10) for step in range(1, 11)]

        assert told[:9] == [None] * 9
        assert told[9] == pytest.approx(WINDOW_S / 10)

    def test_leaves_out_what_was_no_training(self) -> None:
        """A validation in the middle makes no window look slow to the tuner."""
        tuner = ThreadTuner((2, 1), 2)
        pace = Pace(tuner, 0.0)
        for start in (0.0, 100.0):
            pace.resume(start)
            pace.worked(1000, start + WINDOW_S)

        assert tuner.current == 2
