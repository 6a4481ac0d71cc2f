"""Engines: what turns a portrait and cameras into a view set, behind one protocol."""
