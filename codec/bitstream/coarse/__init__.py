"""The coarse payloads of other codecs: learned, reference, external."""
