"""What we do: the expected value of each admissible action, and the choice among them."""
