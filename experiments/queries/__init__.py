"""Which query finds most: those of the default training in its item vectors, and a plain two-tower of its own."""
