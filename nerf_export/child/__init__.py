"""What runs in the NeRF interpreter.  Nothing here is imported by the host.

``launch`` starts, ``compat`` mends, ``method`` describes, ``train`` and ``query`` do.
"""
