"""Diffusion decoding: noise schedules and samplers."""
