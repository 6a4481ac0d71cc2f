"""The backend and the ``dp3d`` command line.

``serving`` opens the port, ``web`` answers HTTP, ``jobs`` stores jobs and runs them through an
executor, ``worker`` is the spawned process that computes, ``storage`` holds files by content
hash, ``reports`` draws pages about results, ``client`` talks to a server, ``cli`` is the command
line.
"""
