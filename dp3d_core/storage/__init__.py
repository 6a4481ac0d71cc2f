"""Storage: atomic files, locks, bounded JSON, the user's folders.  Needs ``filelock`` alone."""
