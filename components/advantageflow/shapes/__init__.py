"""The embedded world: GenEval in miniature, with a tiny Stable Diffusion 3 model that draws it."""
