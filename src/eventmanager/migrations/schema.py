"""Every model of the program, gathered so that Alembic can compare them with the database."""

from typing import Final

from sqlalchemy import MetaData

import eventmanager.accounts.models
import eventmanager.core.audit.models
import eventmanager.core.background.models
import eventmanager.core.idempotency.models
import eventmanager.events.models
import eventmanager.history.models
import eventmanager.messages.models
import eventmanager.realtime.presence.models
import eventmanager.reminders.models
import eventmanager.scheduling.models
import eventmanager.sharing.models
import eventmanager.webhooks.models  # noqa: F401  # imported for the tables they declare
from eventmanager.core.models import Base

METADATA: Final[MetaData] = Base.metadata
