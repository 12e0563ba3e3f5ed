"""Hookline sends webhooks: durable before the answer, fair between receivers, safe to point at strangers."""

__version__ = "0.1.0"
