"""Evaluation: how near views, poses and meshes come to true ones."""
