"""Off-policy estimates from logged propensities."""
