"""The entity tag of who shares an event: nobody changes a list that they have not seen."""

import asyncio
from uuid import UUID

import pytest

from eventmanager.core.config import Settings
from eventmanager.sharing.models import Role
from eventmanager.sharing.schemas import Permission, tag_of
from tests.conftest import MakeUser, User, client_of, started
from tests.sharing.conftest import create, grant, log, share


async def tag(reader: User, event: str) -> str:
    """Return the tag of the list as it is."""
    return str((await reader.client.get(f"{event}/permissions")).headers["ETag"])


def test_the_tag_is_made_of_the_list_alone() -> None:
    """Every worker gives the same; another role, user or order gives another."""
    one, two = (Permission(user_id=UUID(int=n), role=Role.VIEWER) for n in (1, 2))
    lists = [[], [one], [two], [one, two], [two, one], [one.model_copy(update={"role": "Owner"})]]
    tags = [tag_of(permissions) for permissions in lists]
    assert len(set(tags)) == len(lists)
    # The digest of "00000000-0000-0000-0000-000000000001 Viewer".
    assert tags[1] == '"551685ca899fdc92ef0a23fa08e93e20"'


async def test_the_list_that_a_client_has_is_not_sent_again(
    alice: User, bob: User, event: str
) -> None:
    """304 with the tag until it changes; a weak tag, a list and `*` name it too."""
    url = f"{event}/permissions"
    known = await tag(alice, event)
    for named in (known, f"W/{known}", f'"other", {known}', "*"):
        answer = await alice.client.get(url, headers={"If-None-Match": named})
        assert (answer.status_code, answer.content) == (304, b""), named
        assert answer.headers["ETag"] == known
    await share(alice, event, grant(bob))
    changed = await alice.client.get(url, headers={"If-None-Match": known})
    assert (changed.status_code, len(changed.json())) == (200, 2)
    assert changed.headers["ETag"] != known
    assert changed.headers["ETag"] == await tag(bob, event)


async def test_who_may_not_read_the_list_learns_nothing_of_its_tag(
    alice: User, bob: User, event: str
) -> None:
    """Neither whether it is still the same, nor what it is now."""
    known = {"If-None-Match": await tag(alice, event)}
    answer = await bob.client.get(f"{event}/permissions", headers=known)
    assert (answer.status_code, "ETag" in answer.headers) == (403, False)
    stale = {"If-Match": '"stale"'}
    refused = await bob.client.post(f"{event}/share", json=[grant(bob)], headers=stale)
    assert (refused.status_code, "current_etag" in refused.json()) == (403, False)


async def test_each_change_answers_the_tag_for_the_next(alice: User, bob: User, event: str) -> None:
    """So that an Owner makes several without reading the list in between."""
    before = await tag(alice, event)
    theirs = f"{event}/permissions/{bob.id}"
    shared = await alice.client.post(
        f"{event}/share", json=[grant(bob)], headers={"If-Match": before}
    )
    assert shared.status_code == 201
    assert shared.headers["ETag"] == await tag(alice, event) != before
    raised = await alice.client.put(
        theirs, json={"role": "Editor"}, headers={"If-Match": shared.headers["ETag"]}
    )
    assert raised.status_code == 200
    assert raised.headers["ETag"] == await tag(alice, event) != shared.headers["ETag"]
    same = await alice.client.put(theirs, json={"role": "Editor"})
    assert same.headers["ETag"] == raised.headers["ETag"]
    revoked = await alice.client.delete(theirs, headers={"If-Match": raised.headers["ETag"]})
    assert revoked.status_code == 204
    assert await tag(alice, event) == before


async def test_the_tag_of_the_event_is_another(alice: User, bob: User, event: str) -> None:
    """A grant leaves the event's own as it is, and that one names no list."""
    version = (await alice.client.get(event)).headers["ETag"]
    await share(alice, event, grant(bob))
    assert (await alice.client.get(event)).headers["ETag"] == version
    answer = await alice.client.delete(
        f"{event}/permissions/{bob.id}", headers={"If-Match": version}
    )
    assert answer.status_code == 412


@pytest.mark.parametrize(
    ("if_match", "passes"),
    [
        ("{tag}", True),
        ('"other", {tag}', True),
        ("*", True),
        ("W/{tag}", False),
        ('W/{tag}, "other"', False),
        ('"other"', False),
        ("{bare}", False),
        ('"1"', False),
        (",,,", False),
    ],
)
async def test_a_change_of_a_list_that_was_not_seen_is_refused(
    alice: User, bob: User, make_user: MakeUser, event: str, if_match: str, passes: bool
) -> None:
    """With the tag that it has now; a weak tag never allows a change (RFC 9110, 13.1.1)."""
    carol = await make_user()
    await share(alice, event, grant(bob))
    url = f"{event}/permissions/{bob.id}"
    requests = (
        ("PUT", url, {"role": "Editor"}, 200),
        ("POST", f"{event}/share", [grant(carol)], 201),
        ("DELETE", url, None, 204),
    )
    for method, path, body, status in requests:
        known = await tag(alice, event)
        headers = {"If-Match": if_match.format(tag=known, bare=known.strip('"'))}
        answer = await alice.client.request(method, path, json=body, headers=headers)
        if passes:
            assert answer.status_code == status
        else:
            assert (answer.status_code, answer.json()["code"]) == (412, "stale_version")
            assert answer.json()["current_etag"] == known == await tag(alice, event)


async def test_a_viewer_with_a_stale_list_does_not_leave_by_mistake(
    alice: User, bob: User, event: str
) -> None:
    """Leaving asks for the tag like any other change."""
    await share(alice, event, grant(bob))
    url, known = f"{event}/permissions/{bob.id}", await tag(bob, event)
    await alice.client.put(url, json={"role": "Owner"})
    assert (await bob.client.delete(url, headers={"If-Match": known})).status_code == 412
    known = await tag(bob, event)
    assert (await bob.client.delete(url, headers={"If-Match": known})).status_code == 204


async def test_of_two_owners_with_the_same_tag_exactly_one_wins(
    alice: User, bob: User, make_user: MakeUser
) -> None:
    """Whatever each is about to do: the other is told that the list has changed."""
    carol, dave = await make_user(), await make_user()
    for number in range(12):
        event = await create(alice)
        await share(alice, event, grant(bob, "Owner"), grant(carol))
        known = {"If-Match": await tag(bob, event)}
        carols = f"{event}/permissions/{carol.id}"
        method, path, body = (
            ("POST", f"{event}/share", [grant(dave)]),
            ("PUT", carols, {"role": "Owner"}),
            ("DELETE", carols, None),
        )[number % 3]
        answers = await asyncio.gather(
            alice.client.put(carols, json={"role": "Editor"}, headers=known),
            bob.client.request(method, path, json=body, headers=known),
        )
        lost = [answer for answer in answers if answer.status_code == 412]
        assert [answer.is_success for answer in answers].count(True) == len(lost) == 1
        assert lost[0].json()["current_etag"] == await tag(alice, event)
        assert len(await log(alice, event)) == 4
        await alice.client.delete(event)


async def test_a_server_that_insists_on_if_match_does_so_here_too(
    settings: Settings, alice: User, bob: User, event: str
) -> None:
    """428 for every change without one, before anything is done."""
    insisting = settings.model_copy(update={"require_if_match": True})
    headers = {"Authorization": alice.client.headers["Authorization"]}
    async with started(insisting) as app, client_of(app, headers=headers) as client:
        url = f"{event}/permissions/{bob.id}"
        answers = [
            await client.post(f"{event}/share", json=[grant(bob)]),
            await client.put(url, json={"role": "Viewer"}),
            await client.delete(url),
        ]
        assert [answer.status_code for answer in answers] == [428] * 3
        known = {"If-Match": await tag(alice, event)}
        shared = await client.post(f"{event}/share", json=[grant(bob)], headers=known)
        assert shared.status_code == 201
