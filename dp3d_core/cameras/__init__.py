"""Cameras in head space: conventions, lenses, paths, and the formats they are written in."""
