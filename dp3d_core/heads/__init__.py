"""Parametric heads: our own geometry, shape parameters, hair and wear, synthetic subjects."""
