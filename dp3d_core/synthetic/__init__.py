"""Synthetic subjects with known truth: heads with hair, clothes, materials, light and labels.

``subjects`` draws a person, ``head`` builds the mesh, ``materials`` and ``lighting`` shade it,
``rendering`` renders views, ``dataset`` writes them; ``landmark_training`` learns from them.
"""
