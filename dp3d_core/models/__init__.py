"""Networks of the diffusion engines, on diffusers.

``config`` names their sizes, ``unet`` is the one network class of all variants, ``attention``
and ``view_attention`` are what diffusers lacks, ``networks`` holds the networks that work together,
``prompt`` the embedding of the empty prompt, which ``text_encoder`` computes.
"""
