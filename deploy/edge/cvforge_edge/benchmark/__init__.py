"""What the model files of a bundle cost on this machine: time of an image, memory, start."""
