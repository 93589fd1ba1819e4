"""The commands of `advantageflow`, a file for each group of them."""
