"""What is done with a result after the network, in the order of the frames of its source."""
