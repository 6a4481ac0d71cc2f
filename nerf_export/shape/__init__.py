"""Shape as distance grids: visual hull, head prior, fused depth, and the surface of a field."""
