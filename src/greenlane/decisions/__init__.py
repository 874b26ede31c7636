"""What we said: the record of a decision, and the answer it gives."""
