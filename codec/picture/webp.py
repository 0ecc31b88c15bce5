"""Width and height that a WebP file claims. Its reader takes memory for the whole picture as it parses the header."""

HEAD_BYTES = 30


def claimed_size(head: bytes) -> tuple[int, int] | None:
    """(width, height) by the first 30 bytes of the file, or all there are; None when it cannot be read."""
    chunk = head[12:16]
    if chunk == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if len(head) < HEAD_BYTES:
        return None
    if chunk == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    if chunk == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None
