"""What all rewards share: registry, options, inputs, weights, checks."""
