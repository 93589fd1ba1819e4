"""Artifacts on disk and in a store: whole or absent, checked when read.

What cannot be read, written, listed or removed is a StoreError; what is there and does not fit, a DataError.
"""
