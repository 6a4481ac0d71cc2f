"""Shape of a head: placed in the photo's pose, with hair, outline and shoulders of the photo."""
