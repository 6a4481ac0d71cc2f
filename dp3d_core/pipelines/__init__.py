"""Sampling: noise schedules, windows of views, the denoising loop, pipelines."""
