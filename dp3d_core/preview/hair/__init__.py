"""Hair and beard of a head, read from the photo or chosen by the user.

Entry point is ``fit.grow_hair``: length (``length``), outline (``outline_marks``), thickness
(``thickness``) and style (``styles``) of a shell of hair; ``beard`` is separate.
"""
