"""Items and what holds them together, as a graph; and random walks on it."""
