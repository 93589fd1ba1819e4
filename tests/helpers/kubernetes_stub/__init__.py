"""A stand-in for the Kubernetes API of a cluster with Kubeflow Trainer."""
