"""Where each item of a description is in the picture, and the bits that say so."""
