"""The web process: answers HTTP, imports no engine and no torch (see pyproject's contracts)."""
