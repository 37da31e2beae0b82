"""For feature services (BatchFetchFeature), and for plugins that speak to them.

* A service in Python: `spi_app` makes an ASGI application of one function.
* The judge of a service in any language: `check_service`, which `sfs spi check` prints.
* A plugin that asks a service: features as messages carry them, and the retry options. The records and the type table
  are those of predefined features, and `retry` means to a plugin what it means to peers.
* Header entries of ours: `PER_ROW` asks for the rows that there are, `MISSING_ROWS` says which there are not.
* Options of plugins: `Seconds` (also as '500 ms'), `HeaderName`, `HeaderValue`; `TlsOptions`, and `ClientTls` made from
  them.
"""

from __future__ import annotations

from sfs_core.codec.execution import MISSING_ROWS, PER_ROW
from sfs_core.codec.features import Feature, FeatureField, FeatureValue, batch_of_features, field_type
from sfs_core.config.network import Retry
from sfs_core.config.option_types import HeaderName, HeaderValue, Seconds
from sfs_core.link.retry import FailureKind, RetryPolicy, retry_policy
from sfs_core.spi.app import Fetch, SpiApp, spi_app
from sfs_core.spi.check import Probe, Report, check_service
from sfs_core.spi.messages import FetchContext, SpiCode, SpiError
from sfs_core.spi.openapi import openapi_document
from sfs_core.spi.tls import ClientTls, TlsOptions

__all__ = [
    "MISSING_ROWS",
    "PER_ROW",
    "ClientTls",
    "FailureKind",
    "Feature",
    "FeatureField",
    "FeatureValue",
    "Fetch",
    "FetchContext",
    "HeaderName",
    "HeaderValue",
    "Probe",
    "Report",
    "Retry",
    "RetryPolicy",
    "Seconds",
    "SpiApp",
    "SpiCode",
    "SpiError",
    "TlsOptions",
    "batch_of_features",
    "check_service",
    "field_type",
    "openapi_document",
    "retry_policy",
    "spi_app",
]
