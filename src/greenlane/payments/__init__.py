"""The words: money, times, the attempt and its cards, the codes that answer it. Immutable, with no input or output."""
