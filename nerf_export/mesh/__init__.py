"""The textured mesh of a fit, and its splats."""
