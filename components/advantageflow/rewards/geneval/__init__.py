"""GenEval (Ghosh et al., arXiv 2310.11513): whether an image shows the objects, counts, colours and positions asked."""
