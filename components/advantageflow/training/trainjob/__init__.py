"""A training over several nodes, as a Kubeflow TrainJob."""
