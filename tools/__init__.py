"""Tools for building and testing dp3d; not installed with it."""
