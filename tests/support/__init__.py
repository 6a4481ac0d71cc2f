"""Helpers shared by tests: scenes with known truth."""
