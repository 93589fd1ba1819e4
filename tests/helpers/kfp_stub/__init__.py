"""A stand-in for Kubeflow Pipelines' API server, made from the API's own description."""
