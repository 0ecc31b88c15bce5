"""Neural networks of the codec: CLIP Surgery, learned image codecs and what loads them. All of it needs PyTorch."""
