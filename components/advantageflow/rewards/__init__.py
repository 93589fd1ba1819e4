"""What images are scored by: one module per reward, a registry, and checks that every score must pass."""
