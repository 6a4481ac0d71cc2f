"""The head as a rigged asset: quads, blend shapes, bones, materials; GLB and OBJ.

Bottom up: ``topology`` (quads, texture coordinates and levels of detail), ``rig`` (what an asset
is), ``neutral`` (the fitted head without its expression), ``eyes`` and ``keys`` (blend shapes that
fit the person), ``worn`` (hair, headwear, clothes), ``baking`` and ``materials`` (textures),
``gltf`` and ``obj`` (files), ``sheet`` (a picture of all keys), ``asset`` (from a fitted head to
files).  ``take``, ``capture_file``, ``example_take`` and ``clip`` play face captures.
"""
