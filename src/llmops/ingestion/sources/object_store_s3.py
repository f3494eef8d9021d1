"""The door to S3 (boto3). Its listings go on after a key, which fsspec cannot offer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

from llmops.errors import (
    ConfigurationError,
    DocumentError,
    DocumentGoneError,
    LlmopsError,
    MissingExtraError,
    SourceDeniedError,
    SourceError,
)
from llmops.ingestion.sources.object_store import Batch, StoredObject
from llmops.ingestion.sources.rows import too_large
from llmops.ingestion.sources.specs_data import ObjectStoreSource

_BATCH = 1_000
_GONE = ("NoSuchKey", "NoSuchVersion")
_REFUSED = ("ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch")
_FORBIDDEN = ("AccessDenied", "AllAccessDisabled", "403")
_ARCHIVED = "InvalidObjectState"


class Bucket:
    """Objects of a bucket below a prefix. Credentials come from where AWS's own tools find them.

    Raises:
        MissingExtraError: boto3 is not installed.
        ConfigurationError: the address or the region cannot be used.
    """

    def __init__(self, spec: ObjectStoreSource) -> None:
        try:
            import boto3  # type: ignore[import-untyped]  # it has no types
            from botocore import UNSIGNED  # type: ignore[import-untyped]
            from botocore.config import Config  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingExtraError("boto3", "sources") from error
        parts = urlsplit(spec.url)
        self._name, self._prefix = parts.netloc, parts.path.strip("/")
        self._prefix += "/" if self._prefix else ""
        config = Config(
            retries={"mode": "standard", "total_max_attempts": 5},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=32,
            signature_version=UNSIGNED if spec.anonymous else None,
        )
        with _said(spec.url):
            session = boto3.session.Session(region_name=spec.region)
            region = session.region_name or "us-east-1"
            self._client: Any = session.client(
                "s3", endpoint_url=spec.endpoint_url, region_name=region, config=config
            )

    def batches(self, after: str) -> Iterator[Batch]:
        """Keys in the order of their bytes, a thousand at a time."""
        place: dict[str, str] = {"StartAfter": self._prefix + after} if after else {}
        while True:
            with _said(self._name):
                answer = self._client.list_objects_v2(
                    Bucket=self._name, Prefix=self._prefix, MaxKeys=_BATCH, **place
                )
            listed = answer.get("Contents", ())
            objects = (self._object(one) for one in listed if not str(one["Key"]).endswith("/"))
            after = str(listed[-1]["Key"])[len(self._prefix) :] if listed else after
            yield Batch(objects=tuple(objects), after=after)
            if not answer.get("IsTruncated"):
                return
            place = {"ContinuationToken": answer["NextContinuationToken"]}

    def read(self, name: str, max_bytes: int) -> tuple[bytes, str]:
        """An object's bytes; of one that is too large nothing is transferred."""
        with _said(self._name):
            answer = self._client.get_object(Bucket=self._name, Key=self._prefix + name)
            with closing(answer["Body"]) as body:
                if answer["ContentLength"] > max_bytes:
                    raise DocumentError(too_large(answer["ContentLength"], max_bytes))
                return body.read(), str(answer.get("ETag", "")).strip('"')

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _object(self, listed: dict[str, Any]) -> StoredObject:
        etag, modified_at = str(listed.get("ETag", "")).strip('"'), listed.get("LastModified")
        return StoredObject(
            name=str(listed["Key"])[len(self._prefix) :],
            version=etag or (f"{modified_at.isoformat()}-{listed.get('Size')}" if modified_at else ""),
            n_bytes=listed.get("Size"),
            modified_at=modified_at,
        )


@contextmanager
def _said(place: str) -> Iterator[None]:
    """botocore's errors as ours."""
    from botocore import exceptions as failures

    try:
        yield
    except LlmopsError:
        raise
    except failures.ClientError as error:
        raise _answered(error.response, place) from error
    except (failures.NoCredentialsError, failures.PartialCredentialsError) as error:
        problem = f"there are no credentials for {place!r}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise SourceDeniedError(f"{problem}, or anonymous: true for a public bucket") from error
    except (failures.ParamValidationError, failures.InvalidRegionError, ValueError) as error:
        raise ConfigurationError(f"{place!r} cannot be opened: {_line(error)}; mend source.url") from error
    except (failures.BotoCoreError, failures.HTTPClientError, OSError) as error:
        raise SourceError(f"{place!r} cannot be reached: {_line(error)}; try again later") from error


def _answered(response: Any, place: str) -> LlmopsError:
    said = response.get("Error", {})
    code, message = str(said.get("Code", "")), str(said.get("Message", ""))[:200]
    is_object = "Key" in said or code in _GONE
    if code in _GONE:
        return DocumentGoneError("is not in the bucket any more")
    if code == _ARCHIVED:
        return DocumentError("is archived; restore it in the bucket to have it read")
    if code in _REFUSED or (code in _FORBIDDEN and not is_object):
        return SourceDeniedError(f"{place!r} refuses our credentials: {message} ({code})")
    return SourceError(f"{place!r} cannot be read: {message} ({code})")


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
