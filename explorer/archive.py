"""Several files in one: the archive that a page lets its reader take away."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

# Files in an archive have a time; this one, the first that the format knows, so that equal content is equal bytes.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def packed(files: Mapping[str, bytes]) -> bytes:
    """Pack files by name as one zip archive; equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=_NO_TIME), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
