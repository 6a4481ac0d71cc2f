"""The server as a process: its socket, its connections, and who may reach it."""
