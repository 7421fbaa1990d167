"""Hanlin: from raw text to an audited language-model endpoint."""

__version__ = "0.1.0"
