"""Plain functions of ranks, probabilities and resamples; no model, no log."""
