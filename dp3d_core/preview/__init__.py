"""The preview engine: our parametric head with the photo's texture, ray-cast from any camera.

Read ``engine`` first; it tells the story from top to bottom.
"""
