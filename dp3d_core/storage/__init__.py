"""The disk: whole files, locks, bounded JSON, and where a user's files are.  Standard library."""
