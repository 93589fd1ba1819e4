"""Golden checks: pictures that every reward scores before a run, and trials of rewards on sample pictures."""
