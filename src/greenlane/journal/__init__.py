"""The truth: one append-only sequence of everything that was decided and everything that happened."""
