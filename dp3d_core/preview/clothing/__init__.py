"""Headwear and clothes of a head, read from the photo or chosen by the user."""
