"""Webhooks as their users see them: made, changed, paused, deleted, and nobody else's business."""

import base64
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import User
from tests.webhooks.conftest import Receiver, Steps, deliveries_of, event_of, webhook_of

NOWHERE = "00000000-0000-0000-0000-000000000000"
URL = "https://192.0.43.8/hook"  # a public address, to which nothing is sent here


async def test_a_webhook_is_created_with_a_secret_that_is_shown_once(alice: User) -> None:
    """Whoever reads the API later must not be able to sign in its name."""
    answer = await alice.client.post("/api/webhooks", json={"url": URL, "description": "Door"})
    assert answer.status_code == 201
    webhook = answer.json()
    assert answer.headers["Location"] == f"/api/webhooks/{webhook['id']}"
    secret = webhook.pop("secret")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64
    assert (await alice.client.get(f"/api/webhooks/{webhook['id']}")).json() == webhook
    assert (await alice.client.get("/api/webhooks")).json() == [webhook]
    assert webhook["types"] is None
    assert webhook["is_active"]


async def test_one_may_bring_a_secret(alice: User) -> None:
    """Receivers may have one already."""
    secret = "whsec_" + base64.b64encode(b"s" * 24).decode()
    webhook = await webhook_of(alice, URL, secret=secret)
    assert webhook["secret"] == secret


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": ""},
        {"url": "not a url"},
        {"url": "http://192.0.43.8/"},
        {"url": "ftp://192.0.43.8/"},
        {"url": "https://user:pass@192.0.43.8/"},
        {"url": "https://192.0.43.8:0/"},
        {"url": "https://192.0.43.8:99999/"},
        {"url": "https://192.0.43.8/#part"},
        {"url": "https:///hook"},
        {"url": "https://a b/"},
        {"url": "https://192.0.43.8\\@127.0.0.1/"},
        {"url": "https://" + "a" * 64 + ".example/"},
        {"url": "https://x/" + "a" * 2000},
        {"url": "https://a..b/"},
        {"url": "https://\x00/"},
        {"url": "https://[::1/"},
        {"url": URL, "types": []},
        {"url": URL, "types": ["weather"]},
        {"url": URL, "types": ["ping"]},
        {"url": URL, "secret": "whsec_c2hvcnQ="},
        {"url": URL, "secret": "no prefix"},
        {"url": URL, "secret": "whsec_!!!"},
        {"url": URL, "secret": "whsec_ÄÄÄÄ"},
        {"url": URL, "description": "x" * 201},
        {"url": URL, "description": "\x00"},
        {"url": URL, "disabled_at": None},
    ],
    ids=str,
)
async def test_what_is_no_webhook_is_refused(alice: User, body: dict[str, Any]) -> None:
    """Each with 422, and nothing is created."""
    answer = await alice.client.post("/api/webhooks", json=body)
    assert answer.status_code == 422, answer.text
    assert (await alice.client.get("/api/webhooks")).json() == []


@pytest.mark.parametrize("url", ["https://localhost/", "https://127.1/", "https://[fd00::1]/"])
async def test_a_private_address_is_refused_when_it_is_given(alice: User, url: str) -> None:
    """Somebody who makes a mistake should hear of it at once."""
    webhook = await webhook_of(alice, URL)
    path = f"/api/webhooks/{webhook['id']}"
    for answer in (
        await alice.client.post("/api/webhooks", json={"url": url}),
        await alice.client.patch(path, json={"url": url}),
    ):
        assert answer.status_code == 422
        assert answer.json()["code"] == "private_address"
        assert answer.json()["detail"][0]["loc"] == ["body", "url"]
    assert (await alice.client.get(path)).json()["url"] == URL


async def test_a_name_that_stands_for_nothing_yet_is_taken(alice: User) -> None:
    """It may well exist by the time it is needed, and every delivery looks again."""
    await webhook_of(alice, "https://nowhere.invalid/hook")


async def test_what_is_given_is_changed_and_nothing_else(alice: User) -> None:
    """A change names what it changes; null is a value of `types`."""
    webhook = await webhook_of(alice, URL, types=["event_created", "event_created"])
    assert webhook["types"] == ["event_created"]
    path = f"/api/webhooks/{webhook['id']}"
    changed = (await alice.client.patch(path, json={"description": "Hall"})).json()
    assert changed["description"] == "Hall"
    assert changed["types"] == ["event_created"]
    changed = (await alice.client.patch(path, json={"types": None, "url": f"{URL}2"})).json()
    assert changed["types"] is None
    assert changed["url"] == f"{URL}2"
    assert (await alice.client.patch(path, json={"is_active": False})).json()["is_active"] is False
    assert (await alice.client.get(path)).json()["description"] == "Hall"


async def test_webhooks_of_others_are_not_there(alice: User, bob: User) -> None:
    """404 on every route, as for those that do not exist."""
    hers = await webhook_of(alice, URL)
    ping = (await alice.client.post(f"/api/webhooks/{hers['id']}/test")).json()
    for webhook, delivery in ((hers["id"], ping["id"]), (NOWHERE, NOWHERE)):
        path = f"/api/webhooks/{webhook}"
        for answer in (
            await bob.client.get(path),
            await bob.client.patch(path, json={"description": "mine"}),
            await bob.client.delete(path),
            await bob.client.post(f"{path}/secret"),
            await bob.client.post(f"{path}/test"),
            await bob.client.get(f"{path}/deliveries"),
            await bob.client.get(f"{path}/deliveries/{delivery}"),
            await bob.client.post(f"{path}/deliveries/{delivery}/replay"),
        ):
            assert answer.status_code == 404, answer.request
    # A delivery is only ever found with its own webhook.
    other = await webhook_of(alice, URL)
    path = f"/api/webhooks/{other['id']}/deliveries/{ping['id']}"
    assert (await alice.client.get(path)).status_code == 404
    assert (await alice.client.post(f"{path}/replay")).status_code == 404
    assert (await alice.client.get("/api/webhooks")).json()[0]["description"] == ""
    assert len(await deliveries_of(alice, hers)) == 1


async def test_nobody_without_a_token_may_anything(anonymous: httpx.AsyncClient) -> None:
    """Webhooks are their users' alone."""
    path = f"/api/webhooks/{NOWHERE}"
    for answer in (
        await anonymous.get("/api/webhooks"),
        await anonymous.post("/api/webhooks", json={"url": URL}),
        await anonymous.get(path),
        await anonymous.patch(path, json={}),
        await anonymous.delete(path),
        await anonymous.post(f"{path}/secret"),
        await anonymous.post(f"{path}/test"),
        await anonymous.get(f"{path}/deliveries"),
        await anonymous.get(f"{path}/deliveries/{NOWHERE}"),
        await anonymous.post(f"{path}/deliveries/{NOWHERE}/replay"),
    ):
        assert answer.status_code == 401


async def test_a_user_may_have_twenty(alice: User) -> None:
    """One user must not be able to make the server post without end."""
    for _ in range(20):
        await webhook_of(alice, URL)
    answer = await alice.client.post("/api/webhooks", json={"url": URL})
    assert answer.status_code == 409
    assert answer.json()["code"] == "too_many_webhooks"
    assert answer.json()["limit"] == 20


async def test_a_creation_and_a_rotation_that_are_repeated_are_done_once(alice: User) -> None:
    """With an Idempotency-Key: the second rotation would end the secret that is in use."""
    headers = {"Idempotency-Key": "first"}
    created = [
        await alice.client.post("/api/webhooks", json={"url": URL}, headers=headers)
        for _ in range(2)
    ]
    assert created[0].json() == created[1].json()
    assert len((await alice.client.get("/api/webhooks")).json()) == 1
    path = f"/api/webhooks/{created[0].json()['id']}/secret"
    rotated = [await alice.client.post(path, headers=headers) for _ in range(2)]
    assert rotated[0].status_code == 200
    assert rotated[0].json() == rotated[1].json()
    assert rotated[0].json()["secret"] != created[0].json()["secret"]


async def test_acts_are_in_the_audit_log_and_secrets_are_not(
    alice: User, app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the signing secret, nor what the URL's path may hold."""
    webhook = await webhook_of(alice, f"{URL}/T0K3N")
    path = f"/api/webhooks/{webhook['id']}"
    await alice.client.patch(path, json={"description": "Hall"})
    rotated = (await alice.client.post(f"{path}/secret")).json()
    assert (await alice.client.delete(path)).status_code == 204
    assert (await alice.client.get(path)).status_code == 404
    log = (await alice.client.get("/api/me/audit")).text
    for act in ("created", "changed", "secret_changed", "deleted"):
        assert f"webhook_{act}" in log
    assert "192.0.43.8" in log
    written = "".join(file.read_text() for file in app.state.settings.log_dir.glob("*.log"))
    assert "webhook_created" in written
    for secret in (webhook["secret"], rotated["secret"], "T0K3N"):
        assert secret not in log
        assert secret not in written
        assert secret not in caplog.text


async def test_deliveries_are_listed_in_pages_the_latest_first(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """And by what became of them."""
    webhook = await webhook_of(ada, receiver.url)
    made = []
    for _ in range(3):
        answer = await ada.client.post(f"/api/webhooks/{webhook['id']}/test")
        assert answer.status_code == 202
        made.append(answer.json()["id"])
        assert answer.headers["Location"].endswith(f"/{made[-1]}")
    await steps.attempt()
    await ada.client.post(f"/api/webhooks/{webhook['id']}/test")
    path = f"/api/webhooks/{webhook['id']}/deliveries?limit=2&state=delivered"
    first = await ada.client.get(path)
    second = await ada.client.get(first.links["next"]["url"])
    assert [item["id"] for item in first.json() + second.json()] == made[::-1]
    assert "next" not in second.links
    assert len(await deliveries_of(ada, webhook, state="pending")) == 1
    answer = await ada.client.get(f"/api/webhooks/{webhook['id']}/deliveries?state=lost")
    assert answer.status_code == 422


async def test_a_paused_webhook_is_told_nothing(
    ada: User, receiver: Receiver, steps: Steps
) -> None:
    """Neither what waits for it, nor what comes meanwhile, once it is active again."""
    webhook = await webhook_of(ada, receiver.url)
    await event_of(ada, "before")
    await steps.dispatch()
    path = f"/api/webhooks/{webhook['id']}"
    await ada.client.patch(path, json={"is_active": False})
    await event_of(ada, "meanwhile")
    await ada.client.patch(path, json={"is_active": True})
    await event_of(ada, "after")
    await steps.deliver()
    assert [request.json["data"]["data"]["title"] for request in receiver.received] == ["after"]
    assert [item["state"] for item in await deliveries_of(ada, webhook)] == ["delivered", "failed"]
