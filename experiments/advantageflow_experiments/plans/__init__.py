"""Comparisons that come with the package: each a YAML plan of this folder whose first line says what it asks."""
