"""Input of a fit: the dataset, consistency of cameras and frames, and refinement of poses."""
