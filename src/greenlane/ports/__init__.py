"""What Greenlane needs from outside, as narrow Protocols. Each has an adapter that needs no disk."""
