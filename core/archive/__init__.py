"""What the archive keeps: images, batches, reconstructions, and the objects that belong to them."""
