"""Radiance fields: presets, fitting, rendering, and run folders for nerfstudio's commands."""
