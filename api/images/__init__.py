"""Pictures handed in, and what the archive keeps of them."""
