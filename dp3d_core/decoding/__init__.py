"""Decoding of untrusted pictures.

:func:`dp3d_core.decoding.outside.decode_outside` decodes any picture file in a child process with
limits on memory and time.  :mod:`dp3d_core.decoding.png` reads the PNG files of view sets and fits.
numpy and Pillow only.
"""
