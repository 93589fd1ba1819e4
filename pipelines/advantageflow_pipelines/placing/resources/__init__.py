"""What each stage gets of a cluster: GPUs, CPU, memory, nodes, secrets, retries; presets and people's own files."""
