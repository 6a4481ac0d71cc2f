"""The one place where pictures that come from outside are decoded.

:func:`dp3d_core.decoding.outside.decode_outside` decodes any picture file in a child process with
limits of memory and time; :mod:`dp3d_core.decoding.png` opens the PNG files of view sets and fits.
numpy and Pillow only.
"""
