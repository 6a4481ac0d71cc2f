"""The human head: base mesh, shape prior, bust mesh, UV atlas, and pose from face landmarks.

Bottom up: ``space`` (units), ``base_files`` (installed data), ``people`` (shape and expression),
``mouth`` and ``bust`` (the mesh), ``charts`` and ``atlas`` (UV), ``face_mesh`` and
``landmark_map`` (pose and shape by regression).
"""
