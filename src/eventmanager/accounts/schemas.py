"""The bodies of the account routes."""

import unicodedata
from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, model_validator
from pydantic_core import PydanticCustomError

from eventmanager.accounts.models import FreeBusyAccess, GlobalRole
from eventmanager.core.bodies import Body

USERNAME_MAX_LENGTH: Final = 50
EMAIL_MAX_LENGTH: Final = 254
PASSWORD_MIN_LENGTH: Final = 8
PASSWORD_MAX_LENGTH: Final = 128
# Controls, invisible formats and lone surrogates, and every kind of separator.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})


def _without_nul(text: str) -> str:
    # PostgreSQL's text cannot hold it.
    if "\0" in text:
        raise PydanticCustomError("nul_character", "NUL characters are not allowed")
    return text


def normal_username(text: str) -> str:
    """Return the one form (NFKC) of names that look alike; letter case stays as given."""
    return unicodedata.normalize("NFKC", text)


def normal_email(text: str) -> str:
    """Return the form in which `EmailStr` keeps an address; what is none stays as it is."""
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError:
        return text


def _username(text: str) -> str:
    name = normal_username(text)
    if "@" in name or any(unicodedata.category(character) in _UNSEEN for character in name):
        raise PydanticCustomError(
            "username_characters", "A username has no spaces, no control characters and no @"
        )
    if len(name) > USERNAME_MAX_LENGTH:
        raise PydanticCustomError(
            "string_too_long",
            "String should have at most {max_length} characters",
            {"max_length": USERNAME_MAX_LENGTH},
        )
    return name


Username = Annotated[
    str,
    Field(
        min_length=1,
        max_length=USERNAME_MAX_LENGTH,
        description="Unique in any letter case; no spaces, no control characters, no `@`.",
        examples=["alice"],
    ),
    AfterValidator(_username),
]
Email = Annotated[
    EmailStr,
    Field(
        max_length=EMAIL_MAX_LENGTH,
        description="Unique in any letter case.",
        examples=["alice@example.com"],
    ),
    AfterValidator(_without_nul),
]
NewPassword = Annotated[
    str,
    Field(
        min_length=PASSWORD_MIN_LENGTH,
        max_length=PASSWORD_MAX_LENGTH,
        examples=["correct horse battery staple"],
    ),
    AfterValidator(_without_nul),
]
GivenPassword = Annotated[
    str,
    Field(min_length=1, max_length=PASSWORD_MAX_LENGTH, examples=["correct horse battery staple"]),
    AfterValidator(_without_nul),
]
GivenName = Annotated[
    str,
    Field(min_length=1, max_length=EMAIL_MAX_LENGTH),
    AfterValidator(_without_nul),
]


class Registration(Body):
    """A new user. There is no role in it: nobody chooses their own."""

    username: Username
    email: Email
    password: NewPassword


class SignIn(Body):
    """A username, an email, or both, which must then be of one user."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"username": "alice", "password": "correct horse battery staple"}]
        },
    )

    username: Annotated[GivenName | None, Field(examples=["alice"])] = None
    email: Annotated[GivenName | None, Field(examples=["alice@example.com"])] = None
    password: GivenPassword

    @model_validator(mode="after")
    def _name_somebody(self) -> Self:
        if self.username is None and self.email is None:
            raise PydanticCustomError("name_missing", "Give a username, an email, or both")
        return self


class PasswordChange(Body):
    """The password in force and the one to replace it."""

    current_password: GivenPassword
    new_password: Annotated[NewPassword, Field(examples=["a better horse, another staple"])]


class TokenRequest(BaseModel):
    """The form of an OAuth 2 client (RFC 6749, 4.3.2 and 6); members not named here are ignored."""

    grant_type: Annotated[str, Field(examples=["password"])] = "password"
    username: Annotated[
        str | None, Field(description="A username or an email.", examples=["alice"])
    ] = None
    password: Annotated[str | None, Field(examples=["correct horse battery staple"])] = None
    refresh_token: Annotated[str | None, Field(description="For the grant of that name.")] = None


class SignedInAnswer(BaseModel):
    """An access token; its refresh token travels in the cookie, out of reach of scripts."""

    access_token: Annotated[
        str, Field(description="Send it as `Authorization: Bearer <token>`.", examples=["eyJ..."])
    ]
    refresh_token: Annotated[
        Literal["stored in httpOnly cookie"],
        Field(description="Always this sentence: the token itself is in the cookie."),
    ] = "stored in httpOnly cookie"  # noqa: S105  # a sentence of the wire format
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # the type's name
    expires_in: Annotated[int, Field(description="Seconds the access token lives.", examples=[900])]


class TokenAnswer(BaseModel):
    """Both tokens in the body (RFC 6749, 5.1), for clients without a cookie jar."""

    access_token: Annotated[str, Field(examples=["eyJ..."])]
    refresh_token: Annotated[
        str, Field(description="Good for one use.", examples=["2mT1wYhF0mJ0gVbq5..."])
    ]
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # the type's name
    expires_in: Annotated[int, Field(description="Seconds the access token lives.", examples=[900])]


class TicketAnswer(BaseModel):
    """What opens one WebSocket as this session."""

    ticket: Annotated[str, Field(description="Good once.", examples=["2mT1wYhF0mJ0gVbq5..."])]
    expires_in: Annotated[int, Field(description="Seconds the ticket lives.", examples=[30])]


class Profile(BaseModel):
    """A user as they themselves, and an Admin, see them."""

    id: Annotated[UUID, Field(examples=["01920f0e-7a3c-7b1e-9a55-0d8e6a1c2b3d"])]
    username: Annotated[str, Field(examples=["alice"])]
    email: Annotated[str, Field(examples=["alice@example.com"])]
    is_active: bool
    role: GlobalRole
    created_at: datetime


class OwnProfile(Profile):
    """A user as they themselves see them."""

    free_busy: Annotated[
        FreeBusyAccess,
        Field(
            description="Who may ask when they are busy: `everyone`, those who have an event in"
            " common with them (`shared`), or `nobody`."
        ),
    ]


class OwnChange(Body):
    """What users may change of themselves; what is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"free_busy": "shared"}]})

    free_busy: Annotated[
        FreeBusyAccess | None,
        Field(
            description="Who may ask when you are busy: `everyone`, those who have an event in"
            " common with you (`shared`), or `nobody`. Editors of an event of yours learn it all"
            " the same where they move it: a clash says with what times, never with what.",
            examples=["shared"],
        ),
    ] = None


class SessionAnswer(BaseModel):
    """One sign-in that still lives."""

    id: Annotated[UUID, Field(examples=["01920f0e-7a3c-7b1e-9a55-0d8e6a1c2b3e"])]
    created_at: datetime
    last_used_at: Annotated[datetime, Field(description="When its tokens were last renewed.")]
    expires_at: Annotated[datetime, Field(description="When it ends unless it is renewed.")]
    address: Annotated[str, Field(description="Where the sign-in came from.", examples=["::1"])]
    user_agent: Annotated[str, Field(examples=["Mozilla/5.0 (X11; Linux x86_64)"])]
    current: Annotated[bool, Field(description="Whether it is the session of this request.")]
