"""The shell: the one loop, and the threads around it."""
