"""Texture synthesis on the panorama around a head: smooth colours, detail, strands of hair."""
