"""Models in torch; each room makes one part of the ranker's inputs, ``ranker/`` reads them all."""
