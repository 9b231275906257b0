"""Places for results: one file each; `open` chooses among them."""
