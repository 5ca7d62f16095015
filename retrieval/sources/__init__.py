"""What candidates are proposed from."""
