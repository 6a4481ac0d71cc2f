"""dp3d_core: from a portrait and cameras to a :class:`~dp3d_core.viewsets.viewset.ViewSet`.

Importing the package imports nothing heavy: import the module that you need.
Read ``cameras`` first, then ``portraits``, ``engines``, ``preview`` and ``pipelines``.
"""

__version__ = "0.1.0"
