"""The NeRF interpreter: its environment, its commands, and children whose parents died."""
