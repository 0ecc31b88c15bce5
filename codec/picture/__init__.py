"""Pictures in and out: any file a person has, and PNG, WebP, AVIF or JPEG back. Pillow and numpy only."""
