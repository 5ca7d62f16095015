"""Leave-one-out on MovieLens-1M."""
