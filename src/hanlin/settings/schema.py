"""All settings of a Hanlin process: one frozen tree. The environment name is the path: ``HANLIN_GATEWAY__PORT``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GatewaySettings(_Section):
    """The data plane's front door."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; anything but loopback needs HANLIN_HAS_TLS_IN_FRONT."
    )
    port: int = Field(8100, ge=0, le=65535, description="Port of the prediction API; 0 takes a free one.")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Longest request body.")
    max_texts: int = Field(256, ge=1, description="Most texts in one call.")
    max_connections: int = Field(4096, ge=1, description="Most connections at a time.")
    idle_timeout_s: float = Field(75.0, gt=0, description="A connection without a request is closed after this.")
    read_timeout_s: float = Field(10.0, gt=0, description="A request must have arrived whole within this.")
    drain_s: float = Field(10.0, ge=0, description="Longest wait for requests under way when stopping.")


class ControlSettings(_Section):
    """The management plane: API, console and the loops that keep things as they should be."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; anything but loopback needs HANLIN_HAS_TLS_IN_FRONT."
    )
    port: int = Field(
        8101, ge=0, le=65535, description="Port of the management API and the console; 0 takes a free one."
    )
    max_upload_bytes: int = Field(2_147_483_648, ge=1024, description="Longest uploaded corpus file.")
    reconcile_s: float = Field(0.25, gt=0, description="Pause between two looks at what is wanted and what runs.")
    may_approve_itself: bool = Field(
        False, description="Let a promotion whose policy is met approve itself (demonstrations); the record says so."
    )
    session_hours: float = Field(12.0, gt=0, description="How long a sign-in lasts.")
    allowed_hosts: tuple[str, ...] = Field(
        ("127.0.0.1", "localhost", "[::1]"), description="Host names that the console answers to (DNS rebinding)."
    )


class WorkerSettings(_Section):
    """Long work: training, compression, evaluation, publication."""

    slots: int = Field(1, ge=1, le=64, description="Tasks that run at the same time.")
    niceness: int = Field(10, ge=0, le=19, description="How much long work yields to serving (see nice(1)).")
    threads: int = Field(0, ge=0, le=256, description="Threads of one training run; 0 takes the cores of the machine.")
    checkpoint_s: float = Field(20.0, gt=0, description="A killed training run loses at most this much, and a step.")
    poll_s: float = Field(0.2, gt=0, description="Pause between two looks for work.")
    lease_s: float = Field(10.0, gt=0, description="A task whose worker has been silent for this long is taken over.")


class AlertSettings(_Section):
    """Where alerts may go."""

    webhook_hosts: tuple[str, ...] = Field(
        (),
        description="host or host:port that webhooks may be sent to; others are refused (server-side request forgery).",
    )
    evaluate_s: float = Field(1.0, gt=0, description="Pause between two evaluations of the alert rules.")


class ProbeSettings(_Section):
    """Periodic checks of what serves."""

    ping_s: float = Field(1.0, gt=0, description="Pause between two pings (lease ages) of each replica.")
    http_s: float = Field(5.0, gt=0, description="Pause between two HTTP probes of gateway and control.")
    deep_s: float = Field(
        15.0, gt=0, description="Pause between two predictions with a known answer on each deployment."
    )
    failures: int = Field(3, ge=1, description="Failed probes in a row that make a target unhealthy.")


class Settings(BaseSettings):
    """The whole tree; read once, when a process starts."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_prefix="HANLIN_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(Path("~/.hanlin"), description="Folder that holds everything Hanlin keeps.")
    store_url: str = Field("", description="SQLAlchemy address of the store; empty means SQLite in the data folder.")
    has_tls_in_front: bool = Field(
        False, description="Something in front speaks TLS: only then may ports listen on anything but loopback."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    language: str = Field("", description="Language of messages on the command line: zh or en; empty follows LANG.")
    gateway: GatewaySettings = Field(default_factory=GatewaySettings, description="The data plane.")
    control: ControlSettings = Field(default_factory=ControlSettings, description="The management plane.")
    worker: WorkerSettings = Field(default_factory=WorkerSettings, description="Long work.")
    alerts: AlertSettings = Field(default_factory=AlertSettings, description="Alerts.")
    probes: ProbeSettings = Field(default_factory=ProbeSettings, description="Health checks.")
