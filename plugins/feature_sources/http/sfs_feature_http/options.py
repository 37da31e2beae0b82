"""Options of the HTTP feature source."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from yarl import URL

from sfs_core.spi import HeaderName, HeaderValue, Retry, Seconds, TlsOptions

__all__ = ["HttpConfig"]

_OWN_HEADERS: Final = {"content-type", "content-length", "content-encoding", "transfer-encoding", "host"}


class HttpConfig(TlsOptions):
    """Where the feature service is, and how it is asked."""

    endpoint: str | Annotated[list[str], Field(min_length=1)]
    """The URL that is posted to; without a scheme, http:// is meant. Or a list of them, which are used in turn: where
    nothing could be sent to one, another is asked, and those that fail are passed over for some seconds."""
    resolve_all: bool = False
    """Whether all addresses of an endpoint's host name are used in turn, looked up anew every few seconds."""
    widen: bool = False
    """Whether the service may send numbers in a narrower type that loses nothing: FIELD_INT32 for FIELD_INT64, and
    FIELD_INT32 or FIELD_FLOAT for FIELD_DOUBLE."""
    id_field: str = ""
    """A feature, if the service has one, that is the id itself, a text or an integer. It is asked for along with the
    others and compared with the ids that were asked for, so that no answer can be taken for another one."""
    headers: list[str] | None = None
    """Names of the entries of a request's header that the service is told, besides those for tracing; without this
    option, all but those that begin with `sfs-`."""
    token: HeaderValue | None = None
    """A bearer token to send."""
    user: str = ""
    """With `password`: an account for basic authentication."""
    password: SecretStr | None = None
    """See `user`."""
    http_headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Further HTTP headers to send, such as an API key's."""
    pool_size: int = Field(default=100, gt=0)
    """Most connections that are open at a time; further fetches wait for one."""
    max_answer_bytes: int = Field(default=64 << 20, gt=0)
    """Size of the largest answer that is read, after decompression."""
    connect_timeout: Seconds = 0.5
    """Seconds for opening a connection."""
    timeout: Seconds = 1.0
    """Seconds for a whole fetch, retries included."""
    retry: Retry = Retry()
    """When a fetch is tried again."""

    @field_validator("endpoint")
    @classmethod
    def _absolute(cls, endpoint: str | list[str]) -> str | list[str]:
        if isinstance(endpoint, str):
            return str(_url(endpoint))
        urls = list(map(_url, endpoint))
        if len(set(urls)) < len(urls):
            raise ValueError("one is there twice")
        if len({url.scheme for url in urls}) > 1:
            raise ValueError("either all or none are https://…")
        return list(map(str, urls))

    @field_validator("http_headers")
    @classmethod
    def _not_our_own(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in headers:
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name} cannot be chosen")
        return headers

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if bool(self.user) != (self.password is not None):
            raise ValueError("`user` and `password` need each other")
        if ":" in self.user:
            raise ValueError("`user` must not hold a colon")
        named = "authorization" in map(str.lower, self.http_headers)
        if bool(self.user) + (self.token is not None) + named > 1:
            raise ValueError("only one of `token`, `user` and an Authorization header can be sent")
        if self.names_certificates and self.urls[0].scheme != "https":
            raise ValueError("certificates need TLS: an endpoint https://…")
        return self

    @property
    def urls(self) -> list[URL]:
        """The endpoints, all of one scheme."""
        return [URL(each) for each in ([self.endpoint] if isinstance(self.endpoint, str) else self.endpoint)]


def _url(endpoint: str) -> URL:
    try:
        url = URL(endpoint if "://" in endpoint else f"http://{endpoint}")
    except ValueError:
        raise ValueError("this is no URL") from None
    if url.scheme not in {"http", "https"} or not url.host or url.fragment:
        raise ValueError("a URL http://… or https://… is expected")
    if url.user is not None or url.password is not None:
        raise ValueError("user and password are options of their own")
    return url
