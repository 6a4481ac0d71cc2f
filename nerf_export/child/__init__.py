"""The process in the NeRF interpreter: training, rendering and export of fields with nerfstudio.

The host starts it by ``nerf_export.process.child_process`` and imports nothing of it.

    launch, commands          entry point, commands by name
    parent_channel            events to the parent, and its request to stop
    compat                    patches that nerfstudio needs with current packages
    method, trainer           the nerfstudio method ``dp3d-head`` and its trainer
    dataparser, cameras       dataset and cameras in nerfstudio's types
    model, field, grids       rendering and losses, the radiance field, dense grids
    contrast                  local contrast of the training pictures
    train, scores, memory     command ``train``: fit, scores of held-out views, memory check
    query, ns_commands        commands on a finished field
    files                     atomic writing
"""
