"""Triangle meshes: in memory, in files, and under rays."""
