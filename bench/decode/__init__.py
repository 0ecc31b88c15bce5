"""Ways of decoding side by side on one device: as published, in half precision, in static batches, by the engine."""
