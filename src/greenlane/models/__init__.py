"""What we believe: calibrated probabilities from a loaded, verified, warmed artefact."""
