"""The training objectives, one file each: its options, its loss, and what it needs; found by name in the registry."""
