"""What composes AdvantageFlow's stages into pipelines, and runs, compiles and shows them."""
