"""What weights of edges, pruning and early stop do to random walks, on logs."""
