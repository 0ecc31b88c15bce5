"""The encode pool: originals become streams. Many threads, since they will wait for model answers."""
