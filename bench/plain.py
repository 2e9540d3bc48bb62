"""The description implemented plainly: FastAPI and the SQLAlchemy ORM in one file.

The yardstick of `compare.py`: what a competent developer writes in an afternoon, in the idiom of
both libraries' documentation, with default pools and nothing slowed down on purpose. It checks for
overlaps, but takes no lock: two requests at the same instant can still double-book.
"""

import logging
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pwdlib import PasswordHash
from pydantic import AwareDatetime, BaseModel, ConfigDict, EmailStr, Field, model_validator
from sqlalchemy import JSON, DateTime, ForeignKey, Index, UniqueConstraint, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

DATABASE_URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://", 1)
SECRET = os.environ["ACCESS_TOKEN_SECRET"]
TOKEN_LIFETIME = timedelta(minutes=int(os.environ.get("ACCESS_TOKEN_EXPIRE_MINUTES", "15")))
LOG_DIR = Path(os.environ.get("LOG_DIR", "logs"))

LOG_DIR.mkdir(parents=True, exist_ok=True)
logger = logging.getLogger("plain")
logger.setLevel(logging.INFO)
handler = logging.FileHandler(LOG_DIR / "app.log")
handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
logger.addHandler(handler)

engine = create_async_engine(DATABASE_URL)
new_session = async_sessionmaker(engine, expire_on_commit=False)
passwords = PasswordHash.recommended()


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True), dict[str, Any]: JSON}  # noqa: RUF012


class User(Base):
    __tablename__ = "users"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    username: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]


class Event(Base):
    __tablename__ = "events"
    __table_args__ = (Index("ix_events_owner_time", "owner_id", "start_time", "end_time"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    title: Mapped[str]
    description: Mapped[str | None]
    location: Mapped[str | None]
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]
    is_recurring: Mapped[bool] = mapped_column(default=False)
    recurrence_pattern: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    permissions: Mapped[list["Permission"]] = relationship(cascade="all, delete-orphan")


class Permission(Base):
    __tablename__ = "permissions"
    __table_args__ = (UniqueConstraint("event_id", "user_id"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    event_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    role: Mapped[str]


class History(Base):
    __tablename__ = "event_history"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    event_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("events.id", ondelete="CASCADE"), index=True
    )
    version: Mapped[int]
    operation: Mapped[str]
    data: Mapped[dict[str, Any]]
    changed_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))
    timestamp: Mapped[datetime] = mapped_column(server_default=func.now())


class Registration(BaseModel):
    username: str = Field(min_length=3, max_length=50)
    email: EmailStr
    password: str = Field(min_length=8, max_length=128)


class Credentials(BaseModel):
    username: str
    password: str


class Token(BaseModel):
    access_token: str
    token_type: str = "bearer"


class EventCreate(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    title: str = Field(min_length=1, max_length=200)
    description: str | None = None
    location: str | None = None
    start_time: AwareDatetime
    end_time: AwareDatetime
    is_recurring: bool = False
    recurrence_pattern: str | None = None

    @model_validator(mode="after")
    def check(self) -> "EventCreate":
        if self.end_time <= self.start_time:
            raise ValueError("end_time must be after start_time")
        if self.is_recurring and not self.recurrence_pattern:
            raise ValueError("recurrence_pattern is required for a recurring event")
        return self


class EventUpdate(BaseModel):
    title: str | None = Field(default=None, min_length=1, max_length=200)
    description: str | None = None
    location: str | None = None
    start_time: AwareDatetime | None = None
    end_time: AwareDatetime | None = None


class UserOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    username: str
    email: str


class PermissionOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    user_id: uuid.UUID
    role: str


class EventOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    owner_id: uuid.UUID
    title: str
    description: str | None
    location: str | None
    start_time: datetime
    end_time: datetime
    is_recurring: bool
    recurrence_pattern: str | None
    version: int
    created_at: datetime
    updated_at: datetime
    permissions: list[PermissionOut]


async def get_db() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


Database = Annotated[AsyncSession, Depends(get_db)]
Bearer = Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]


async def get_current_user(db: Database, bearer: Bearer) -> User:
    try:
        claims = jwt.decode(bearer.credentials, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "Invalid token") from error
    user = await db.get(User, uuid.UUID(claims["sub"]))
    if user is None:
        raise HTTPException(401, "Unknown user")
    return user


CurrentUser = Annotated[User, Depends(get_current_user)]


async def load_event(db: AsyncSession, event_id: uuid.UUID, user: User, *roles: str) -> Event:
    query = select(Event).where(Event.id == event_id).options(selectinload(Event.permissions))
    event = await db.scalar(query)
    if event is None:
        raise HTTPException(404, "Event not found")
    permission = await db.scalar(
        select(Permission).where(Permission.event_id == event_id, Permission.user_id == user.id)
    )
    if permission is None or permission.role not in roles:
        raise HTTPException(403, "Not enough permissions")
    return event


async def check_overlap(
    db: AsyncSession,
    owner_id: uuid.UUID,
    start: datetime,
    end: datetime,
    exclude: uuid.UUID | None = None,
) -> None:
    query = select(Event.id).where(
        Event.owner_id == owner_id, Event.start_time < end, Event.end_time > start
    )
    if exclude is not None:
        query = query.where(Event.id != exclude)
    if await db.scalar(query.limit(1)) is not None:
        raise HTTPException(409, "Event overlaps with another event")


def record(event: Event, user: User, operation: str) -> History:
    return History(
        event_id=event.id,
        version=event.version,
        operation=operation,
        data=EventCreate.model_validate(event).model_dump(mode="json"),
        changed_by=user.id,
    )


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(title="Plain event manager", lifespan=lifespan)


@app.post("/api/auth/register", response_model=UserOut, status_code=201)
async def register(body: Registration, db: Database) -> User:
    user = User(
        username=body.username, email=body.email, password_hash=passwords.hash(body.password)
    )
    db.add(user)
    try:
        await db.commit()
    except IntegrityError as error:
        raise HTTPException(409, "User already exists") from error
    logger.info("User %s registered", user.username)
    return user


@app.post("/api/auth/login")
async def login(body: Credentials, db: Database) -> Token:
    user = await db.scalar(select(User).where(User.username == body.username))
    if user is None or not passwords.verify(body.password, user.password_hash):
        raise HTTPException(401, "Invalid credentials")
    claims = {"sub": str(user.id), "exp": datetime.now(UTC) + TOKEN_LIFETIME}
    logger.info("User %s logged in", user.username)
    return Token(access_token=jwt.encode(claims, SECRET, algorithm="HS256"))


@app.post("/api/events", response_model=EventOut, status_code=201)
async def create_event(body: EventCreate, db: Database, user: CurrentUser) -> Event:
    await check_overlap(db, user.id, body.start_time, body.end_time)
    event = Event(**body.model_dump(), owner_id=user.id)
    event.permissions.append(Permission(user_id=user.id, role="owner"))
    db.add(event)
    await db.flush()
    db.add(record(event, user, "create"))
    await db.commit()
    await db.refresh(event, ["created_at", "updated_at", "permissions"])
    logger.info("User %s created event %s", user.id, event.id)
    return event


@app.get("/api/events", response_model=list[EventOut])
async def list_events(
    db: Database,
    user: CurrentUser,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> list[Event]:
    query = (
        select(Event)
        .join(Permission)
        .where(Permission.user_id == user.id)
        .options(selectinload(Event.permissions))
        .order_by(Event.start_time)
        .offset(skip)
        .limit(limit)
    )
    events = list(await db.scalars(query))
    logger.info("User %s listed %d events", user.id, len(events))
    return events


@app.get("/api/events/{event_id}", response_model=EventOut)
async def get_event(event_id: uuid.UUID, db: Database, user: CurrentUser) -> Event:
    event = await load_event(db, event_id, user, "owner", "editor", "viewer")
    logger.info("User %s read event %s", user.id, event.id)
    return event


@app.put("/api/events/{event_id}", response_model=EventOut)
async def update_event(
    event_id: uuid.UUID, body: EventUpdate, db: Database, user: CurrentUser
) -> Event:
    event = await load_event(db, event_id, user, "owner", "editor")
    for name, value in body.model_dump(exclude_unset=True).items():
        setattr(event, name, value)
    if event.end_time <= event.start_time:
        raise HTTPException(422, "end_time must be after start_time")
    if body.start_time or body.end_time:
        await check_overlap(db, event.owner_id, event.start_time, event.end_time, event.id)
    event.version += 1
    db.add(record(event, user, "update"))
    await db.commit()
    await db.refresh(event, ["updated_at"])
    logger.info("User %s updated event %s", user.id, event.id)
    return event


@app.delete("/api/events/{event_id}", status_code=204)
async def delete_event(event_id: uuid.UUID, db: Database, user: CurrentUser) -> None:
    event = await load_event(db, event_id, user, "owner")
    await db.delete(event)
    await db.commit()
    logger.info("User %s deleted event %s", user.id, event_id)
