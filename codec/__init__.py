"""The codec: picture <-> `.misc`. Knows no HTTP, queue, SQL or object store; importing it imports no torch."""
