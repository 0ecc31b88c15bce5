"""A local OpenAI-compatible server that plays scripts: real HTTP, no model."""
