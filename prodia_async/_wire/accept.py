"""The Accept header (API reference, Content Negotiation)."""

from __future__ import annotations

from prodia_async._errors import InputError
from prodia_async._wire import media


def accept_header(media_type: str | None) -> str:
    """Ask for a multipart answer, so that the job result always comes, with the first output as `media_type`.

    The type stands after a semicolon, as the API reference writes it. Raises InputError unless it has the
    form `type/subtype`.
    """
    if media_type is None:
        return "multipart/form-data"
    if not media.is_type(media_type):
        raise InputError(f"accept must be a media type such as 'image/png', not {media_type!r}")
    return f"multipart/form-data; {media_type}"
