"""Whom we serve: what a payment earns and what a loss costs, per merchant, as the merchant configured it."""
