"""Evaluation: metrics of views, poses and meshes, and benchmarks of the preview engine.

``compare`` serves ``dp3d evaluate``; ``preview_benchmark`` and ``published_frames`` run benchmarks.
"""
