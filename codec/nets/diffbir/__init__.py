"""Stable Diffusion 2.1 steered by DiffBIR: its networks, and what reads the published checkpoints into them."""
