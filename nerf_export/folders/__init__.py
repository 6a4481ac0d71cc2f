"""Import and export of other tools' folders.

Import, in the order of the work::

    capture_folders detects the format of a folder and finds its file of cameras
    transforms      nerfstudio, instant-ngp, BlenderNeRF: transforms.json
    synthetic       NeRF's synthetic scenes: transforms_train.json, _val, _test
    colmap          COLMAP: a model (colmap_model, text or binary) and its pictures
    names           finds the file that a name in these files means
    capture         the result of reading: frames with pictures, masks, lenses and poses
    pictures        the only module that opens pictures of a folder
    masks           meaning of masks (values: mask_looks, mask_levels) and of alpha (alpha)
    undistortion    distorted pictures -> pinhole pictures, with OpenCV
    importing       a capture -> a view set

Export::

    writing         nerfstudio, instant-ngp and NeRF's synthetic format
    colmap_writing  COLMAP's text model, with points on the visual hull

:mod:`dp3d_core.cameras.lenses` and :mod:`dp3d_core.cameras.files` parse lenses and poses, which
camera paths have as well.
"""
