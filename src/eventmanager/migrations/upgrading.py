"""Running Alembic."""

from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config


def upgrade(url: str, revision: str = "head") -> None:
    """Run the Alembic upgrade itself; the caller holds the lock."""
    with as_file(files(__package__)) as directory:
        command.upgrade(configuration(url, str(directory)), revision)


def configuration(url: str, directory: str) -> Config:
    """Return an Alembic configuration for the database at `url`."""
    config = Config()
    config.set_main_option("script_location", directory.replace("%", "%%"))
    config.attributes["url"] = url
    return config
