"""What people start and wait for: importing, proving, training, replaying. Each is a function over one directory."""
