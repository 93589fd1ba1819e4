"""The online pipeline: rounds of separate stages."""
