"""What items are apart from what users do, as a ranker sees it: labels and numbers of each, frozen with the model."""
