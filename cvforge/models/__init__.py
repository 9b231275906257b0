"""Networks: one architecture a file, each normalising its own input."""
