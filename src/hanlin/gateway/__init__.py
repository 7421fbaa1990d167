"""The data plane: requests in, answers out."""

from hanlin.gateway.batching import form_batch
from hanlin.gateway.process import Gateway, GatewayLedger, run_gateway

__all__ = ["Gateway", "GatewayLedger", "form_batch", "run_gateway"]
