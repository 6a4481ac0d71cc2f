"""Pages and pictures that show what a result is worth."""
