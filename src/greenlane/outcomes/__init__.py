"""What happened: authorisations, authentications, fraud reports, disputes, returns."""
