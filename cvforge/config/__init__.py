"""From YAML to checked sections, and from those to objects."""
