"""From a photo file to a portrait: head crop, matte, and the camera that sees the crop.

``load`` runs the five steps: file (``photo_file``), faces (``face_models``, ``landmarks``,
``detection``), crop (``crop``), matte (``matting``) and pose (``pose``).  ``portrait`` holds the
result, ``report_picture`` draws it.
"""
