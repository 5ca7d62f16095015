"""Item vectors and dense item features."""
