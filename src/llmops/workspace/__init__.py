"""A workspace: the folder of an application's specs, opened with its state."""
