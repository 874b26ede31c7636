"""What a candidate would have earned on a directory's own traffic, as a paired difference to what was done."""
