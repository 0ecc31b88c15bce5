"""CLIP with the second path of CLIP Surgery: its tokeniser, prompts, network and checkpoints."""
