"""Storage: atomic files, locks, bounded JSON and the user's folders.  Standard library only."""
