"""Engines, which make a view set from a portrait and cameras: protocol, options, registry."""
