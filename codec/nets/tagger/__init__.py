"""Networks that say what is in a picture: a classifier, a detector and a mask of what stands out."""
