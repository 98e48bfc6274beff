"""A self-test of the runtime on the user's own board: its parts one by one, and real runs with faults injected."""
