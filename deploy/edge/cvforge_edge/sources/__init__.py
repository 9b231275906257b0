"""Sources of frames: one file each; `cvforge_edge.camera` chooses among them."""
