"""The schema of one subscriber and of one group, as people write them.

No validator in Python and no mutable default, which would be copied for each: a hundred thousand
entries are validated by pydantic's core alone.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Pattern: what a person is told instead of it.
WORDS = {
    r"^[1-9][0-9]{2,14}$": "a number of 3 to 15 digits expected, without a leading zero",
    r"^\+[1-9][0-9]{6,14}$": "E.164 expected: + and 7 to 15 digits, as +4930123456",
    r"^(\+[1-9][0-9]{6,14}|[1-9][0-9]{2,14})$": (
        "a subscriber's number or E.164 expected, as 1002 or +4930123456"
    ),
    r"^[a-z][a-z0-9-]{0,31}$": "a name expected: lower case letters, digits and -",
    r"^[0-9]{1,15}$": "a voicemail box expected: 1 to 15 digits",
    r'^[^\x00-\x1f\x7f"\\]+$': "a name without control characters, quotes and backslashes expected",
}
_NUMBER, _E164, _TARGET, _NAME, _BOX, _DISPLAY = WORDS

Number = Annotated[str, Field(pattern=_NUMBER)]
E164 = Annotated[str, Field(pattern=_E164)]
Target = Annotated[str, Field(pattern=_TARGET)]
Name = Annotated[str, Field(pattern=_NAME)]
Names = Annotated[tuple[Name, ...], Field(max_length=16)]
Calls = Annotated[int, Field(ge=1, le=1000)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Forward(Model):
    """Where calls go instead. after_s: how long it rings before no_answer."""

    always: Target | None = None
    busy: Target | None = None
    no_answer: Target | None = None
    unreachable: Target | None = None
    after_s: Annotated[int, Field(ge=5, le=300)] | None = None


class Subscriber(Model):
    """record: every call is recorded. keying: how the devices agree on media keys when called.

    destinations, max_calls: None for those of the groups.
    """

    number: Number
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=_DISPLAY)]
    domain: str | None = None
    state: Literal["active", "suspended"] = "active"
    record: bool = False
    keying: Literal["sdes", "dtls"] = "sdes"
    voicemail: Annotated[str, Field(pattern=_BOX)] | None = None
    forward: Forward | None = None
    destinations: Names | None = None
    max_calls: Calls | None = None
    caller_id: E164 | None = None
    aliases: Annotated[tuple[E164, ...], Field(max_length=100)] = ()
    groups: Names = ()


class Group(Model):
    """What its members have unless they say otherwise themselves."""

    destinations: Names | None = None
    max_calls: Calls | None = None
