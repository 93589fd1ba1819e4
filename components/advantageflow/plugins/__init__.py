"""Classes of a person's own beside those built in: found by name, by entry point, or by the path of the class."""
