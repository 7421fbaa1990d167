"""The control plane: what is wanted, made so, watched, and accounted for."""

from hanlin.control.app import create_app
from hanlin.control.autoscale import Autoscaler, Demand, decide_replicas
from hanlin.control.changes import Changes, Context
from hanlin.control.deployments import Deployments, etag_of
from hanlin.control.kinds import KINDS, check_params, describe_kinds
from hanlin.control.link import GatewayLink
from hanlin.control.metrics import SeriesCollector
from hanlin.control.outcomes import Outcomes
from hanlin.control.planning import Drain, Start, Switch, Wanted, plan
from hanlin.control.probes import Probes
from hanlin.control.promotion import DEFAULT_POLICY, Promotions
from hanlin.control.reconcile import Reconciler
from hanlin.control.registry import Registry
from hanlin.control.services import Services, Watch
from hanlin.control.status import judge
from hanlin.control.watch import LiveWatch

__all__ = [
    "DEFAULT_POLICY",
    "KINDS",
    "Autoscaler",
    "Changes",
    "Context",
    "Demand",
    "Deployments",
    "Drain",
    "GatewayLink",
    "LiveWatch",
    "Outcomes",
    "Probes",
    "Promotions",
    "Reconciler",
    "Registry",
    "SeriesCollector",
    "Services",
    "Start",
    "Switch",
    "Wanted",
    "Watch",
    "check_params",
    "create_app",
    "decide_replicas",
    "describe_kinds",
    "etag_of",
    "judge",
    "plan",
]
