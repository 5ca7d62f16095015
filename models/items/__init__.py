"""Item vectors and dense item features, from a log of actions."""
