"""The decode pool: streams become reconstructions. One thread a device."""
