"""Settings and the layout of the data folder."""

from hanlin.settings.layout import Layout
from hanlin.settings.schema import (
    AlertSettings,
    ControlSettings,
    GatewaySettings,
    ProbeSettings,
    Settings,
    WorkerSettings,
)

__all__ = [
    "AlertSettings",
    "ControlSettings",
    "GatewaySettings",
    "Layout",
    "ProbeSettings",
    "Settings",
    "WorkerSettings",
]
