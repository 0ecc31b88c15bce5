"""Files of weights in their published forms at tiny widths, for tests of everything that loads them."""
