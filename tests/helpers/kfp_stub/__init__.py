"""A stand-in for Kubeflow Pipelines' API server, as far as the client asks it."""
