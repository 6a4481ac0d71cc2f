"""From the file of a photo to a head whose pose is known.

The story in five steps, told by ``load``: the file (``photo_file``), the faces (``face_models``,
``landmarks``, ``detection``), the crop (``crop``), the outline (``matting``) and the pose
(``pose``).  ``portrait`` holds the result, ``report_picture`` draws it.
"""
