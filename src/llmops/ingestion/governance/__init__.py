"""What may be stored: personal data, secrets, labels, retention, and the right to be forgotten."""
