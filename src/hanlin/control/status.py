"""How a deployment is, in one word and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from hanlin.control.deployments import etag_of
from hanlin.control.services import Services
from hanlin.domain import Deployment, Replica, ReplicaState
from hanlin.wire.admin import DeploymentReply


def describe(parts: Services, deployment: Deployment) -> DeploymentReply:
    """Return what is wanted of *deployment*, what runs, and how it does."""
    replicas = list(parts.watch.replicas(deployment.name))
    alias = parts.store.aliases.find(deployment.spec.model, deployment.spec.alias)
    trouble = parts.watch.trouble(deployment.name)
    state, message = judge(deployment, alias.version if alias else None, replicas, trouble)
    return DeploymentReply(
        deployment=deployment,
        etag=etag_of(deployment),
        state=state,
        message=message,
        replicas=replicas,
        figures=dict(parts.watch.figures(deployment.name)),
    )


def judge(
    deployment: Deployment, wanted_version: int | None, replicas: Sequence[Replica], trouble: str
) -> tuple[str, str]:
    """
    Return the state of a deployment and why: ``waiting`` (nothing to serve yet), ``failed`` (nothing serves),
    ``updating`` (on its way to another version or configuration), ``degraded`` (fewer replicas than wanted), ``ready``.
    """
    if wanted_version is None:
        return "waiting", f"no version of {deployment.spec.model} is {deployment.spec.alias} yet"
    serving = [r for r in replicas if r.state is ReplicaState.READY]
    current = [r for r in serving if r.version == wanted_version]
    if not serving:
        return ("failed", trouble) if trouble else ("updating", "the first replica is starting")
    if deployment.version != wanted_version or len(current) < len(serving):
        return "updating", trouble or f"version {wanted_version} is being brought up"
    if len(current) < deployment.wanted_replicas:
        return "degraded", trouble or f"{len(current)} of {deployment.wanted_replicas} replicas are ready"
    if trouble or any(replica.state is ReplicaState.STARTING for replica in replicas):
        return "updating", trouble or "a replica with another configuration is starting"
    return "ready", f"{len(current)} replicas serve version {wanted_version}"
