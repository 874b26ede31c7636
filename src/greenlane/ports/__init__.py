"""What Greenlane needs from outside, as narrow Protocols, each with its in-memory twin."""
