"""Published checkpoints: recognition, names of weights, download, import and parity."""
