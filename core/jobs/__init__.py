"""Jobs: values (`job`), the state machine (`transitions`), reads (`queries`), leases (`lease`), wake-ups on their way
to the broker (`outbox`), repair (`reconciler`). The database is the truth; everything else may be lost."""
