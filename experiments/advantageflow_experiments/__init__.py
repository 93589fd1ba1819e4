"""Comparing algorithms, the benchmark, and how the embedded model was made: beside the product, not in its images."""
