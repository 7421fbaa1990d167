"""The only place that knows which concrete classes make up which process."""

from hanlin.compose.access import mint_token
from hanlin.compose.parts import Home
from hanlin.compose.platform import Running, run_platform

__all__ = ["Home", "Running", "mint_token", "run_platform"]
