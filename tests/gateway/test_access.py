"""Who is let in: keys, roles, hosts and origins."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.gateway.running import TOKEN, Gateway, eventually, run_gateway
from tests.gateway.test_endpoints import assert_error

ROLES = ("viewer", "app", "prompt-engineer", "ml-engineer", "risk-officer", "admin")
SEARCH: dict[str, Any] = {"query": "fees", "collection": "docs"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def search(gateway: Gateway, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.http.post("/v1/search", json=SEARCH, headers=named)


def test_without_any_key_everybody_on_this_machine_may_ask(keyless: Gateway) -> None:
    assert search(keyless).status_code == 200
    assert search(keyless, Authorization="Bearer unused").status_code == 200


def test_with_a_key_everybody_needs_one(keyless: Gateway) -> None:
    key, secret = keyless.workspace.keys.create("app", role="app", principals=[])
    assert search(keyless, Authorization=f"Bearer {secret}").status_code == 200
    assert search(keyless, Authorization=f"bearer  {secret}").status_code == 200
    for headers, said in (
        ({}, "an API key is needed"),
        ({"Authorization": ""}, "an API key is needed"),
        ({"Authorization": "Bearer"}, "an API key is needed"),
        ({"Authorization": "Bearer wrong"}, "this API key is not valid"),
        ({"Authorization": f"Basic {secret}"}, "this API key is not valid"),
        ({"Authorization": secret}, "an API key is needed"),
        ({"Authorization": f"Bearer {key.key_id}"}, "this API key is not valid"),
        ({"Authorization": "Bearer \xfc\xff"}, "this API key is not valid"),
    ):
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        response = keyless.http.post("/v1/search", json=SEARCH, headers=encoded)
        assert_error(response, 401, "authentication_error", said, "send 'Authorization: Bearer <key>'")
        assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/v1/models", "/metrics", "/openapi.json", "/api/traces/x"):
        assert_error(keyless.http.get(path), 401, "authentication_error")
    for path in ("/", "/healthz", "/readyz", "/console/app.js", "/favicon.ico"):
        assert keyless.http.get(path).status_code == 200


def test_a_key_made_by_another_process_counts_within_a_second_or_so(keyless: Gateway) -> None:
    root = keyless.workspace.root
    llmops = [sys.executable, "-c", "from llmops.cli import main; main()"]
    command = [*llmops, "key", "create", "elsewhere", "--workspace", str(root)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    secret = made.stdout.splitlines()[0]
    eventually(lambda: search(keyless).status_code == 401, "the key was not noticed", within_s=5)
    assert search(keyless, Authorization=f"Bearer {secret}").status_code == 200


def test_a_revoked_key_is_refused(keyless: Gateway) -> None:
    keys = keyless.workspace.keys
    _, other = keys.create("other", role="app", principals=[])
    key, secret = keys.create("app", role="app", principals=[])
    assert search(keyless, Authorization=f"Bearer {secret}").status_code == 200
    keys.revoke(key.key_id)
    assert_error(search(keyless, Authorization=f"Bearer {secret}"), 401, "authentication_error", "not valid")
    assert search(keyless, Authorization=f"Bearer {other}").status_code == 200


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"source"}))
def test_a_role_opens_its_doors_and_no_others(keyless: Gateway, role: str) -> None:
    _, secret = keyless.workspace.keys.create("someone", role=role, principals=[])
    assert keyless.http.get("/v1/models", headers=bearer(secret)).status_code == 200
    assert keyless.http.get("/metrics", headers=bearer(secret)).status_code == 200
    asked = search(keyless, Authorization=f"Bearer {secret}")
    if role in ("viewer", "risk-officer"):
        assert_error(asked, 403, "permission_error", f"a key with the role '{role}' may only read", "role 'app'")
    else:
        assert asked.status_code == 200
    ruled = keyless.http.get("/api/traces/nothing", headers=bearer(secret))
    if role == "admin":
        assert_error(ruled, 404, "not_found_error", "no inference 'nothing'")
    else:
        assert_error(ruled, 403, "permission_error", "use a key with the role 'admin'")


def test_a_source_sends_and_does_nothing_else(keyless: Gateway) -> None:
    _, secret = keyless.workspace.keys.create("wiki", role="source", principals=[])
    headers = {"Authorization": f"Bearer {secret}"}
    body = {"pipeline": "docs", "events": [{"type": "deleted", "uri": "nowhere.md"}]}
    assert keyless.http.post("/api/ingest/events", json=body, headers=headers).json()["n_known"] == 0
    pushed = keyless.http.post("/api/documents", json={"pipeline": "docs", "documents": []}, headers=headers)
    assert pushed.status_code == 400  # it is let in, and the pipeline takes no documents
    for method, path in (
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("POST", "/v1/search"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/api/ingest"),
        ("POST", "/api/ingest/forget"),
        ("GET", "/api/jobs"),
        ("GET", "/api/documents"),
    ):
        refused = keyless.http.request(method, path, headers=headers)
        assert_error(refused, 403, "permission_error", "the role 'source' may only send documents and events")


def test_the_admin_api_is_the_owner_s_even_where_no_key_is_needed(keyless: Gateway) -> None:
    body = {"pipeline": "docs"}
    assert_error(keyless.http.post("/api/ingest", json=body), 403, "permission_error")
    assert_error(keyless.http.get("/api/traces/x"), 403, "permission_error")
    done = keyless.http.post("/api/ingest", json=body, headers=bearer(TOKEN))
    assert done.status_code == 200
    assert '"report"' in done.text
    keyless.workspace.keys.create("app", role="app", principals=[])
    assert keyless.http.post("/api/ingest", json=body, headers=bearer(TOKEN)).status_code == 200


def test_the_owner_reads_a_trace(gateway: Gateway) -> None:
    inference_id = gateway.ask("assistant").json()["inference_id"]
    gateway.http.post("/v1/feedback", json={"inference_id": inference_id, "value": True})
    trace = gateway.http.get(f"/api/traces/{inference_id}", headers=bearer(TOKEN)).json()
    assert (trace["inference_id"], trace["status"], trace["feedback"][0]["value"]) == (inference_id, "ok", True)
    assert [span["station"] for span in trace["spans"]][-1] == "cite"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"pipeline": "nope"}, 404, "no pipeline 'nope'"),
        ({}, 400, "'pipeline' is missing"),
        ({"pipeline": "docs", "force": True}, 400, "'force' is no field"),
        ({"pipeline": "docs", "rebuild": "maybe"}, 400, "'rebuild': Input should be a valid boolean"),
    ],
)
def test_an_ingestion_that_cannot_begin_is_a_status(
    gateway: Gateway, body: dict[str, Any], status: int, said: str
) -> None:
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    assert_error(gateway.http.post("/api/ingest", json=body, headers=bearer(TOKEN)), status, kind, said)


def test_a_client_that_leaves_an_ingestion_does_not_lock_the_next_one_out(gateway: Gateway) -> None:
    body = {"pipeline": "docs"}
    for _ in range(5):
        with gateway.http.stream("POST", "/api/ingest", json=body, headers=bearer(TOKEN)) as response:
            assert response.status_code in (200, 503)

    def done() -> bool:
        response = gateway.http.post("/api/ingest", json=body, headers=bearer(TOKEN))
        return response.status_code == 200 and '"report"' in response.text

    eventually(done, "ingestion stays locked")


EVIL = "http://evil.example"


def test_a_page_of_another_site_is_refused(keyless: Gateway) -> None:
    own = keyless.url
    for method, path in (("POST", "/v1/search"), ("POST", "/v1/feedback"), ("DELETE", "/v1/models")):
        for origin in (EVIL, "null", own.replace("127.0.0.1", "localhost"), own + ".evil.example"):
            response = keyless.http.request(method, path, json=SEARCH, headers={"Origin": origin})
            assert_error(response, 403, "permission_error", f"requests from pages of '{origin}' are not accepted")
    assert search(keyless, Origin=own).status_code == 200


def test_a_name_that_points_here_is_refused_while_no_key_is_needed(keyless: Gateway) -> None:
    """DNS rebinding: the browser believes it talks to evil.example, whose address is now 127.0.0.1."""
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::ffff:8.8.8.8]"):
        for path in ("/v1/models", "/"):
            response = keyless.http.get(path, headers={"Host": host})
            assert_error(response, 403, "permission_error", "is not this machine's loopback; make an API key")
    for host in ("localhost", "localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert keyless.http.get("/v1/models", headers={"Host": host}).status_code == 200


def test_with_a_key_the_gateway_may_have_any_name(keyless: Gateway) -> None:
    _, secret = keyless.workspace.keys.create("app", role="app", principals=[])
    headers = {"Host": "llm.example.org", **bearer(secret)}
    assert keyless.http.get("/v1/models", headers=headers).status_code == 200
    assert keyless.http.post("/v1/search", json=SEARCH, headers=headers).status_code == 200


def test_beyond_loopback_a_key_is_asked_for_even_when_the_last_was_revoked(keyless: Gateway) -> None:
    keys = keyless.workspace.keys
    with run_gateway(keyless.workspace, is_local=False) as public:
        assert_error(search(public), 401, "authentication_error")
        assert_error(search(public, Host="localhost"), 401, "authentication_error")
        key, secret = keys.create("app", role="app", principals=[])
        assert search(public, Authorization=f"Bearer {secret}").status_code == 200
        keys.revoke(key.key_id)
        assert_error(search(public), 401, "authentication_error")
        assert search(public, Authorization=f"Bearer {TOKEN}", Host="any.example").status_code == 200
