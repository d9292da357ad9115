"""The types of what a host says: bounded and normalised here, once, so that it can be shown, stored and compared."""

from __future__ import annotations

import base64
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from remediator.text import one_line

HostText = Annotated[str, BeforeValidator(lambda value: one_line(value) if isinstance(value, str) else value)]
Base64Bytes = Annotated[
    bytes,
    BeforeValidator(lambda value: base64.b64decode(value, validate=True) if isinstance(value, str) else value),
    PlainSerializer(lambda value: base64.b64encode(value).decode("ascii"), return_type=str),
]


class HostDocument(BaseModel):
    """A part of what observe answered; fields that this version does not know are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")
