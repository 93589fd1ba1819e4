"""What a run tells about itself: journals written by stage tasks, published to MLflow."""
