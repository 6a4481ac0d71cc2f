"""The web process: answers HTTP.  It imports no engine and no torch (contracts in pyproject)."""
