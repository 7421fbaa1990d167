"""The client library: everything the console and the command line can do, any program can do."""

from hanlin.sdk.calls import Call, Calls
from hanlin.sdk.client import AsyncClient, Client, classify

__all__ = ["AsyncClient", "Call", "Calls", "Client", "classify"]
