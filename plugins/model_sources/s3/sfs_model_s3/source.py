"""The S3 model source: downloads an object."""

from __future__ import annotations

import re
import time
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Final

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, SSLError

from sfs_core import ConfigError, ErrorCode, ModelSource, PackageError, Progress

from .options import S3Config

__all__ = ["S3Config", "S3ModelSource"]

_CHUNK: Final = 1 << 20
_REGION: Final = "us-east-1"
_SILENCE_SECONDS: Final = 60.0
"""The longest wait for the next bytes."""
_ATTEMPTS: Final = 3
_CODE: Final = re.compile(r"[A-Za-z0-9.]{1,64}")
_NOT_FOUND: Final = (
    ErrorCode.NOT_FOUND,
    "there is no such model package",
    "check `path`, which is the object's key, `bucket` and `virtual_hosted`",
)
_REFUSED: Final = (
    ErrorCode.IO_ERROR,
    "the object store refuses",
    "look at the keys, their region, and what they may read",
)
_CHANGED: Final = (ErrorCode.IO_ERROR, "the object changes while it is fetched", "try again")
_FAILED: Final = (ErrorCode.IO_ERROR, "the object store fails", "look at the store's log")
_ANSWERS: Final = {
    "404": _NOT_FOUND,
    "401": _REFUSED,
    "403": _REFUSED,
    "412": _CHANGED,
}


class S3ModelSource(ModelSource):
    """An object of a store that speaks S3; `path` is its key."""

    Config = S3Config

    config: S3Config

    def download(self, path: str, to: Path, progress: Progress) -> None:
        """Fetch the object; one that breaks off is gone on with, if it is still the same.

        Raises:
            PackageError: there is no such object (code 5), the store cannot be reached or is too slow (code 4),
                refuses, changes the object meanwhile, or the file cannot be written (code 10).
            ConfigError: the store's address, its region or `ca_file` cannot be used, or there are no keys (code 3).
        """
        deadline = time.monotonic() + self.config.timeout
        try:
            client = self._client()
        except (BotoCoreError, OSError, ValueError) as error:
            raise ConfigError(
                f"the options of the object store cannot be used ({type(error).__name__})",
                hint="look at `endpoint`, `region` and `ca_file`",
            ) from None
        try:
            with to.open("xb") as file:
                self._save(client, path, file, progress, deadline)
        except (BotoCoreError, ClientError, RecursionError) as error:  # the last of redirects without an end
            raise self._failed(error) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise PackageError(f"the model package cannot be written: {reason}", where=str(to)) from None
        finally:
            client.close()

    def _save(self, client: Any, key: str, file: BinaryIO, progress: Progress, deadline: float) -> None:
        done, version = 0, None
        for attempt in count(1):
            rest = {"Range": f"bytes={done}-", "IfMatch": version} if done else {}
            answer = client.get_object(Bucket=self.config.bucket, Key=key, **rest)
            with closing(answer["Body"]) as body:
                if done and not str(answer.get("ContentRange", "")).startswith(f"bytes {done}-"):
                    text = "the object store breaks off, and does not go on from there"
                    raise self._error(ErrorCode.NETWORK_ERROR, text)
                version, total = answer.get("ETag"), done + answer["ContentLength"]
                progress(done, total)  # a package that is too large is refused before it is fetched
                try:
                    for chunk in body.iter_chunks(_CHUNK):
                        if time.monotonic() > deadline:
                            hint = "a longer `timeout` may help"
                            raise self._error(ErrorCode.NETWORK_ERROR, "the download takes too long", hint)
                        file.write(chunk)
                        done += len(chunk)
                        progress(done, total)
                    return
                except BotoCoreError:
                    if attempt == _ATTEMPTS or not version:
                        raise

    def _error(self, code: ErrorCode, text: str, hint: str = "") -> PackageError:
        return PackageError(text, code=code, where=self._place, hint=hint)

    @property
    def _place(self) -> str:
        return f"bucket {self.config.bucket} of {self.config.endpoint or 'AWS'}"

    def _client(self) -> Any:
        config = self.config
        session = boto3.session.Session(
            aws_access_key_id=config.access_key and config.access_key.get_secret_value(),
            aws_secret_access_key=config.secret_key and config.secret_key.get_secret_value(),
            aws_session_token=config.session_token and config.session_token.get_secret_value(),
        )
        ca_file = None if config.ca_file is None else self.context.resolve(config.ca_file)
        if ca_file is not None and not ca_file.is_file():
            raise FileNotFoundError
        return session.client(
            "s3",
            endpoint_url=config.endpoint or None,
            region_name=config.region or session.region_name or _REGION,
            verify=True if ca_file is None else str(ca_file),
            config=Config(
                signature_version=UNSIGNED if config.anonymous else "s3v4",
                s3={"addressing_style": "virtual" if config.virtual_hosted else "path"},
                connect_timeout=min(config.connect_timeout, config.timeout),
                read_timeout=min(_SILENCE_SECONDS, config.timeout),
                retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                request_checksum_calculation="when_required",  # stores other than AWS's may not know more
                response_checksum_validation="when_required",
            ),
        )

    def _failed(self, error: Exception) -> PackageError:
        """What went wrong, without what the error says of it, as that quotes keys and what the store sends."""
        if isinstance(error, ClientError):
            kind = str(error.response.get("Error", {}).get("Code", ""))
            status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
            kind = kind if _CODE.fullmatch(kind) else status
            code, what, hint = _ANSWERS.get(status, _FAILED)
        else:
            kind = type(error).__name__
            code, what = ErrorCode.NETWORK_ERROR, "the object store does not deliver"
            hint = "see whether it answers at `endpoint`"
            if isinstance(error, NoCredentialsError):
                code, what = ErrorCode.INVALID_ARGUMENT, "there are no keys for the object store"
                hint = "give `access_key` and `secret_key`, or `anonymous: true`"
            elif isinstance(error, SSLError):
                what = "the object store shows no certificate that is trusted here"
                hint = "see `ca_file` and `endpoint`"
        return self._error(code, f"{what} ({kind})", hint)
