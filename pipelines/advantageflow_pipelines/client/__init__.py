"""What the command line asks of a Kubeflow Pipelines API server: runs, schedules, and how they go."""
