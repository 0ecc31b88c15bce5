"""Telling addresses of callers what has ended, by Standard Webhooks (https://www.standardwebhooks.com)."""
