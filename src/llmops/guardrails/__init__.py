"""Guardrails: what a policy file checks on input, on retrieved text and on output."""
