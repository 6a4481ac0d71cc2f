"""Triangle meshes: in memory, in files, and ray casting."""
