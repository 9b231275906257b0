"""The serving core on Ray Serve: replicas over many machines, with scaling, batches and updates while they answer."""
