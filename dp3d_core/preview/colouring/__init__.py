"""Colour of every point of a head: projected from the photo where visible, completed elsewhere."""
