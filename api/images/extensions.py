"""How a stored picture's name ends, by what the picture is; never by what it was called."""

EXTENSIONS = {
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/jpeg": "jpg",
    "image/jxl": "jxl",
    "image/png": "png",
    "image/tiff": "tiff",
    "image/webp": "webp",
}
