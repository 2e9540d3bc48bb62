"""The secrets that are made where none are set, and the file that keeps them."""

import os
from pathlib import Path

import pytest

from eventmanager.core.secrets import SecretsUnusable, kept_secrets, make_secrets


def test_secrets_are_made_once_and_for_us_alone(tmp_path: Path) -> None:
    """Who reads them can sign in as anybody, and a restart must not sign anybody out."""
    assert kept_secrets(tmp_path) is None
    made = make_secrets(tmp_path)
    assert made["access_token_secret"] != made["refresh_token_secret"]
    assert kept_secrets(tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.json"]
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_new_secrets_are_on_disk_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is renamed before it is written may be empty after a power cut."""
    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        [name] = [path.name for path in tmp_path.iterdir()]
        synced.append((name, os.fstat(descriptor).st_ino))

    monkeypatch.setattr(os, "fsync", noting)
    make_secrets(tmp_path)
    file, directory = (tmp_path / "secrets.json").stat().st_ino, tmp_path.stat().st_ino
    assert synced == [("secrets.new", file), ("secrets.json", directory)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 180,
        b"[]",
        b"null",
        b"{}",
        b'{"access_token_secret": "short", "refresh_token_secret": 5}',
    ],
)
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """Half of it would sign tokens with a secret that anybody guesses, or ever new ones."""
    path = tmp_path / "secrets.json"
    path.write_bytes(content)
    with pytest.raises(SecretsUnusable, match=rf"^{path} is damaged; .* remove it: .*sign"):
        kept_secrets(tmp_path)
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """It is there, so it is not for us to make another."""
    (tmp_path / "secrets.json").mkdir()
    with pytest.raises(SecretsUnusable, match=r"secrets\.json cannot be read \(Is a directory\)"):
        kept_secrets(tmp_path)
