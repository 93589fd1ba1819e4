"""Whether a cluster has what a run needs, one finding for each thing."""
