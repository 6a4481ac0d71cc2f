"""nerf_export: from a :class:`~dp3d_core.viewsets.viewset.ViewSet` to a radiance field and a mesh.

The flow, file by file::

    presets        how large and how long
    dataset        view set -> nerfstudio dataset (pictures, transforms.json, train/held-out)
    hull           silhouettes -> signed distance grid: the field's box and its first guess
    prior          a head-like first guess where only one side is seen
    registration   cameras moved to where the faces in their frames lie; ``poses``: when they are
    agreement      do cameras and frames belong together? refusals and warnings
    fit            runs nerfstudio in its own interpreter, keeps ``field.safetensors``
    surface        distance grid -> one closed, smooth, light surface
    bake           surface -> UV atlas and texture from the views
    splats         the painted surface as Gaussian splats
    mesh           surface and texture -> GLB, OBJ, PLY
    render         new cameras -> frames of the field
    folders        folders of other tools in and out: nerfstudio, instant-ngp, COLMAP ...

To compare: ``fusion`` makes surfaces of rendered depth, ``stock`` hands a fit to nerfstudio's own
commands.

``environment`` builds and finds that other interpreter, ``child_process`` talks to it, and
``child/`` is what runs there: nothing else of ours imports torch or nerfstudio.  ``left_children``
ends what killed commands left, processes and folders.
"""
