"""Greenlane decides every payment."""

__version__ = "0.1.0"
