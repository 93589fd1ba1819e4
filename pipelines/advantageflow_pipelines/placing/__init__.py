"""Placing a pipeline's stages on a cluster: images, resources, secrets."""
