"""Session vectors: HierTCN, its training and export."""
