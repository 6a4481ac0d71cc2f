"""The worker process, the only part of the server that imports engines and geometry."""
