"""Networks of the diffusion engines, on diffusers.

``config`` names their sizes, ``unet`` is the one network class of all variants, ``attention``
and ``views`` are what diffusers lacks, ``bundle`` holds the networks that work together.
"""
