"""The only room with vendors in it."""
