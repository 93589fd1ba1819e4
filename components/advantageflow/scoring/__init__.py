"""The reward stage: scores of the images, with neither torch nor diffusers."""
