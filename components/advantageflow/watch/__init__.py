"""Signs of reward hacking: cheap statistics of images, and alarms where they leave the base policy's own values."""
