"""Brings a model from Cloud Storage into a container of Vertex AI, which names it by its URL.

The bundle's files are read over the JSON API of Cloud Storage, as the service account of the container, so that the
gateway's image needs no library of the cloud. The manifest is verified when the bundle is opened.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from trimtab.errors import StoreError

STORAGE = "https://storage.googleapis.com"
METADATA = "metadata.google.internal"
TOKEN = "computeMetadata/v1/instance/service-accounts/default/token"
TIMEOUT_S = 60.0


def fetch_model(uri: str, folder: Path, *, emulator: str | None, metadata: str | None) -> Path:
    """Copy the objects below gs://BUCKET/PATH into a folder, and return it.

    Args:
        uri: such as gs://bucket/bundles/delay.
        folder: gets the objects, by their names below the path.
        emulator: URL of a server in place of Cloud Storage, which asks for no token.
        metadata: host and port in place of the metadata server's.

    Raises:
        StoreError: there is no object, or the service refuses or cannot be reached.
    """
    parts = urlsplit(uri)
    bucket, prefix = parts.netloc, parts.path.strip("/")
    base = f"{(emulator or STORAGE).rstrip('/')}/storage/v1/b/{quote(bucket, safe='')}/o"
    try:
        headers = {} if emulator else {"Authorization": f"Bearer {_token(metadata or METADATA)}"}
        names = [name for name in _names(base, f"{prefix}/" if prefix else "", headers) if not name.endswith("/")]
        for name in names:
            below = PurePosixPath(name[len(prefix) :].lstrip("/"))
            if ".." in below.parts:
                raise StoreError(f"{uri}: the object '{name}' does not lie below this path")
            target = folder / below
            target.parent.mkdir(parents=True, exist_ok=True)
            with _open(f"{base}/{quote(name, safe='')}?alt=media", headers) as answer, target.open("wb") as file:
                shutil.copyfileobj(answer, file)
    except HTTPError as error:
        hint = "; its service account needs the role Storage Object Viewer" if error.code in (401, 403) else ""
        raise StoreError(f"{uri}: {error.url} answers {error.code} {error.reason}{hint}") from None
    except (URLError, TimeoutError) as error:
        raise StoreError(f"{uri}: {error}") from None
    if not names:
        raise StoreError(f"{uri}: there is no object; expected the files of a bundle, such as {uri}/MANIFEST.json")
    return folder


def _names(base: str, prefix: str, headers: dict[str, str]) -> Iterator[str]:
    page = ""
    while True:
        asked = urlencode(
            {"prefix": prefix, "fields": "items(name),nextPageToken", **({"pageToken": page} if page else {})}
        )
        with _open(f"{base}?{asked}", headers) as answer:
            found = json.load(answer)
        yield from (item["name"] for item in found.get("items", ()))
        page = found.get("nextPageToken", "")
        if not page:
            return


def _token(host: str) -> str:
    with _open(f"http://{host}/{TOKEN}", {"Metadata-Flavor": "Google"}) as answer:
        return str(json.load(answer)["access_token"])


def _open(url: str, headers: dict[str, str]) -> Any:
    return urlopen(Request(url, headers=headers), timeout=TIMEOUT_S)
