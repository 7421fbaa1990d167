"""The client library: everything the console and the command line can do, any program can do."""

from hanlin.sdk.call import Call
from hanlin.sdk.calls import Calls
from hanlin.sdk.client import AsyncClient, Client, classify

__all__ = ["AsyncClient", "Call", "Calls", "Client", "classify"]
