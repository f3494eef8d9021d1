"""Servers on loopback that speak what vendors document, with faults on demand; no vendor is reached."""
