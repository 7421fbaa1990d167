"""The command line: starts processes, and talks to running ones."""

from hanlin.cli.app import main

__all__ = ["main"]
