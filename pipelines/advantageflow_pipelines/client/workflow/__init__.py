"""What Kubeflow makes of a compiled pipeline: an Argo workflow, whose spec and nodes are counted here."""
