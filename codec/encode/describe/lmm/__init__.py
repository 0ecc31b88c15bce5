"""Descriptions by a multimodal language model behind an OpenAI-compatible interface."""
