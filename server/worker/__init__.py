"""The worker process: the only part of the server that loads engines and geometry."""
