from __future__ import annotations

from pathlib import Path

import pytest
from tests.audit.ledgers import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path)
