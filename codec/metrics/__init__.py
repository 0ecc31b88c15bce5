"""How good a reconstruction is, and how codecs compare on it. Nothing that encodes or decodes imports this package."""
