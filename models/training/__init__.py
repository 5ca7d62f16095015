"""What every training shares: the loop, losses, negatives, hold-out, checkpoints, processes."""
