"""Textured meshes of fits, and Gaussian splats."""
