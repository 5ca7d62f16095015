"""Sources of candidates, a file each."""
