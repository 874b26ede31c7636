"""Doors: translate, call decide, translate back. No policy lives here."""
