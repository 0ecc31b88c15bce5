"""Exchange: images as files that other archives and other programs can check and take in; docs/exchange.md."""
