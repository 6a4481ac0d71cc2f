"""The preview engine: a parametric head with the photo's texture, ray-cast from any camera.

Start reading at ``engine``, which names the steps in order.
"""
