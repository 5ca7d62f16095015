"""Item counts: what is counted of items as of a time, and how versions of it are published and opened."""
