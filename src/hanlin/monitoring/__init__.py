"""Series, alert rules, webhooks and reports: whether all is well, and who is told when it is not."""

from hanlin.monitoring.alerts import AlertLoop, AlertRules
from hanlin.monitoring.host import host_values
from hanlin.monitoring.report import DeploymentFigures, ReportFacts, Uptime, Usage, deployment_report
from hanlin.monitoring.rules import Decision, Memory, Watched, evaluate
from hanlin.monitoring.sampler import Sampler, values_of
from hanlin.monitoring.series import SeriesStore, SeriesSummary
from hanlin.monitoring.targets import Resolve, Target, check_url, resolve_by_system
from hanlin.monitoring.vocabulary import (
    DEPLOYMENT_SERIES,
    GATEWAY,
    GATEWAY_SERIES,
    HOST,
    HOST_SERIES,
    SERIES_NAMES,
    SeriesKey,
)
from hanlin.monitoring.webhooks import ChannelSecrets, WebhookSender, sign

__all__ = [
    "DEPLOYMENT_SERIES",
    "GATEWAY",
    "GATEWAY_SERIES",
    "HOST",
    "HOST_SERIES",
    "SERIES_NAMES",
    "AlertLoop",
    "AlertRules",
    "ChannelSecrets",
    "Decision",
    "DeploymentFigures",
    "Memory",
    "ReportFacts",
    "Resolve",
    "Sampler",
    "SeriesKey",
    "SeriesStore",
    "SeriesSummary",
    "Target",
    "Uptime",
    "Usage",
    "Watched",
    "WebhookSender",
    "check_url",
    "deployment_report",
    "evaluate",
    "host_values",
    "resolve_by_system",
    "sign",
    "values_of",
]
