"""What crosses from training to serving: the manifest and the golden cases that prove a bundle."""
