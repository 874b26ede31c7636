"""What we know: features declared once, served by a stream engine and backfilled by SQL, equal bit for bit."""
