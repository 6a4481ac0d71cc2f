"""The ``dp3d`` command line (``docs/cli.md``)."""
