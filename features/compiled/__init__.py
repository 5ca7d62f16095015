"""What kernels of every room share. numba is imported in here and in ``streams/compiled`` alone."""
