"""Folders of other tools, read and written.

Reading, in the order of the work::

    places         which format a folder has, and where its files lie
    transforms     nerfstudio, instant-ngp, BlenderNeRF: transforms.json
    synthetic      NeRF's synthetic scenes: transforms_train.json, _val, _test
    colmap         COLMAP's model, text (colmap_text) or binary (colmap_binary)
    names          the file that a name in these means
    capture        what every format is read into: frames with pictures, masks, lenses and poses
    pictures       the one place that opens a picture of a folder
    masks          what masks mean
    undistortion   distorted pictures to pinhole pictures, with OpenCV
    importing      a capture -> a view set

Writing::

    writing        nerfstudio, instant-ngp and NeRF's synthetic format
    colmap_writing COLMAP's text model, with points on the visual hull

Lenses and poses themselves are understood in :mod:`dp3d_core.cameras.lenses` and
:mod:`dp3d_core.cameras.files`, as camera paths have them as well.
"""
