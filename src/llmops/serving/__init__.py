"""Serving: routes, and the line that turns a question into an answer."""
