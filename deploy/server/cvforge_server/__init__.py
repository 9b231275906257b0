"""The server side of CVForge: requests with images in, answers out; the same for every server that hosts it."""
