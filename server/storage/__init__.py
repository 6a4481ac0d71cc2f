"""Artifact store, disk usage and quota, and bounded parsing of JSON from clients."""
