from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.monitoring.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook receiver that listens."""
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()
