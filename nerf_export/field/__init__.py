"""The radiance field: presets, fit, renders, and its run in nerfstudio's own commands."""
