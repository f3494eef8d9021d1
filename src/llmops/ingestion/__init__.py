"""Ingestion: a source becomes a collection, document by document, each with its row in the ledger."""
