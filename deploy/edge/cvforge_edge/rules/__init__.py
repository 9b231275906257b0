"""Rules on results: read from a small YAML file, watched frame by frame, reported as events."""
