"""The backend and the ``dp3d`` command line.

``web`` answers HTTP, ``jobs`` keeps jobs and runs them through an executor, ``worker`` is the
spawned process that does the work, ``artifacts`` holds files by content hash, ``client`` talks
to a server, ``cli`` is the command line.
"""
