"""Files by hash, their bytes on disk, and JSON of clients within bounds."""
