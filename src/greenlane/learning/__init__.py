"""What we learn: from matured labels to a fitted, calibrated, evaluated model."""
