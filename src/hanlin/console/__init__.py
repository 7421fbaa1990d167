"""The web console: pages for people, a client of the SDK like any other program."""

from hanlin.console.app import create_console

__all__ = ["create_console"]
