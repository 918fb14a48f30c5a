"""Signs bundles, and checks signatures, with the OpenSSF model signing format and a pair of elliptic-curve keys.

The signature covers every file of the folder, including the manifest. It is written to model.sig in the same folder,
so the manifest does not list it. A folder is signed when it is complete, before it is published. Keys are PEM files:
`openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout -out public.pem`.
The library takes a second to import, so gateway workers do not check signatures.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trimtab.bundle.manifest import SIGNATURE, file_names
from trimtab.errors import DataError, MissingExtra


def sign(folder: Path, private_key: Path) -> Path:
    """Sign all files of a folder; return the path of the signature. Raises DataError for a file that is not a key."""
    _prepare(folder, private_key)
    signing: Any = import_module("model_signing.signing")  # it takes a second, with the whole of sigstore
    target = folder / SIGNATURE
    target.unlink(missing_ok=True)
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=private_key).set_hashing_config(_hashing(target))
        signer.sign(folder, target)
    except Exception as error:  # a backend wrapper: its libraries raise many kinds of errors
        raise DataError(f"{folder} cannot be signed with {private_key}: {_first_line(error)}") from error
    return target


def check_signature(folder: Path, public_key: Path) -> None:
    """Check that all files of a folder are the ones that were signed with a key.

    Raises DataError when there is no signature, it was made with another key, or a file is missing, added or changed;
    MissingExtra without the library.
    """
    _prepare(folder, public_key)
    target = folder / SIGNATURE
    if not target.is_file():
        raise DataError(f"{target}: no such file; policy serving.signed_by asks for signed bundles")
    verifying: Any = import_module("model_signing.verifying")
    try:
        verifier = (
            verifying.Config().use_elliptic_key_verifier(public_key=public_key).set_hashing_config(_hashing(target))
        )
        verifier.verify(folder, target)
    except Exception as error:  # as above
        raise DataError(
            f"{target}: the signature does not hold for {public_key.name}: {_first_line(error)}. The bundle "
            "was changed after it was signed, or was signed with another key"
        ) from error


def _hashing(signature: Path) -> Any:
    """Return the hashing of all files except the signature; files that git would ignore are hashed, too."""
    hashing: Any = import_module("model_signing.hashing")
    return hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)


def _prepare(folder: Path, key: Path) -> None:
    if find_spec("model_signing") is None or find_spec("OpenSSL") is None:
        raise MissingExtra("model-signing", "signing")
    if not key.is_file():
        raise DataError(f"{key}: no such file; expected a key in PEM format")
    file_names(folder)  # refuses links
    logging.getLogger("model_signing").setLevel(logging.WARNING)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
