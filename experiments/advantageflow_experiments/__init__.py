"""Comparing algorithms: beside the product, not in its images."""
