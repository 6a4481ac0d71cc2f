"""Further photos of a person: their poses, and whether they show the person of the portrait."""
