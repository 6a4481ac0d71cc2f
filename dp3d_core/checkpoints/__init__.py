"""Published checkpoints: which is which, their names and ours, import and parity."""
