"""A seeded world of payers, fraudsters and issuers with known probabilities, to measure decisions against the truth."""
