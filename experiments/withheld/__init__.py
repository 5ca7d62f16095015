"""New items, judged: a share of a log's items is withheld from training, and must be found by what they are."""
