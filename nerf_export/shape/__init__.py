"""Distance grids: visual hull, head prior, depth fusion, and extraction of a field's surface."""
