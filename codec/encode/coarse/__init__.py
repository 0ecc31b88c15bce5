"""The coarse picture: how the picture roughly looks, in one of the modes. One mode a module."""
