"""The data plane: requests in, answers out."""

from hanlin.gateway.batching import form_batch
from hanlin.gateway.process import Gateway, GatewayLedger

__all__ = ["Gateway", "GatewayLedger", "form_batch"]
