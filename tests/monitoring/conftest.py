from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

Receiver = runpy.run_path(str(Path(__file__).parent / "receiver.py"))["Receiver"]


@pytest.fixture
def receiver() -> Iterator[Any]:
    """A webhook receiver that listens."""
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()
