"""Who says what is in the picture: the built-in describer, texts given with the call, or a file of captions."""
