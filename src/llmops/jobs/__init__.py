"""Durable queues and schedules: when a loop runs, and on which worker."""
