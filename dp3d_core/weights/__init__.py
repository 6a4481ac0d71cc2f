"""Weights of the diffusion engines on this machine, and what using them requires; no torch."""
