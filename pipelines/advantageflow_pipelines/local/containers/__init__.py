"""Running the stages of a local run in containers of their images."""
