from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop
from tests.gateway.running import RunningGateway
from tests.tiny_model import build_servable


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Gateways run on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of two classes."""
    return build_servable(tmp_path_factory.mktemp("model") / "v1")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway that knows nothing yet."""
    async with RunningGateway(tmp_path) as gateway:
        yield gateway
