"""nerf_export: from a :class:`~dp3d_core.viewsets.viewset.ViewSet` to a radiance field and a mesh.

The flow, module by module::

    field/presets         grid sizes, ray counts and steps of a fit
    folders/              folders of other tools in and out: nerfstudio, instant-ngp, COLMAP ...
    views/pose_policy     whether a fit takes the given poses or refined ones
    views/registration    poses refined by bundle adjustment of face points
    views/dataset         view set -> nerfstudio dataset (pictures, transforms.json, splits)
    shape/hull            silhouettes -> signed distance grid: bounds and start of the field
    shape/head_prior      average head as the start, for captures of the front alone
    views/consistency     whether cameras and frames belong together: refusals and warnings
    field/fit             runs nerfstudio in its own interpreter, keeps ``field.safetensors``
    shape/surface         distance grid -> one closed, smooth, decimated surface
    mesh/bake             surface -> UV atlas and texture from the views
    mesh/splats           the textured surface as Gaussian splats
    mesh/textured_mesh    surface and texture -> GLB, OBJ, PLY
    field/render          new cameras -> frames of the field

For comparison, ``shape/depth_fusion`` makes surfaces from rendered depth, and
``field/ns_commands`` hands a fit to nerfstudio's own commands.

``process/environment`` builds and finds nerfstudio's interpreter, ``process/child_process`` runs
commands in it, and ``child/`` is the code of these commands: no other module imports torch or
nerfstudio.  ``process/left_children`` ends the processes and removes the folders that killed
commands left.
"""
