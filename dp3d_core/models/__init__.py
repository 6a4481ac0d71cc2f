"""Networks of the diffusion engines, built from diffusers' blocks.

``config`` describes the published variants.  ``unet`` has the denoiser, the reference network and
the pose network, ``attention`` reference attention and ``view_attention`` attention between views.
``networks`` holds the networks of one checkpoint, ``prompt`` the embedding of the empty prompt, and
``text_encoder`` computes that embedding when a checkpoint is imported.
"""
