"""dp3d_core: from a portrait and cameras to a :class:`~dp3d_core.viewsets.viewset.ViewSet`.

Importing the package imports nothing heavy: take the module you need.
Read ``cameras`` first, then ``portrait``, ``engines`` and ``preview``.
"""

__version__ = "0.1.0"
