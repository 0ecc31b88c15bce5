"""Jobs: the state machine (`repository`), its leases (`lease`), its promised wake-ups (`outbox`), its repair
(`reconciler`). The database is the truth; everything else may be lost."""
