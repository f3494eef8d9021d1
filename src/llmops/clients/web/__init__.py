"""The door to the web: a synchronous HTTP client for sources of documents, careful with addresses and secrets."""

from llmops.clients.web.addresses import Resolve, is_public, resolve_host
from llmops.clients.web.client import WebClient
from llmops.clients.web.patience import Patience
from llmops.clients.web.response import Response
from llmops.clients.web.tokens import ClientCredentials, StaticToken, Token, basic_token, bearer_token

__all__ = [
    "ClientCredentials",
    "Patience",
    "Resolve",
    "Response",
    "StaticToken",
    "Token",
    "WebClient",
    "basic_token",
    "bearer_token",
    "is_public",
    "resolve_host",
]
