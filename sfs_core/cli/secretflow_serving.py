"""`secretflow_serving`: the reference's command line, so that its deployments run this software as they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sfs_core import __version__
from sfs_core.cli.gflags import Kind, parse_flags
from sfs_core.cli.reference_program import run_program
from sfs_core.cli.serve import announce
from sfs_core.config.loaded import LoadedConfig
from sfs_core.config.loader import load
from sfs_core.config.reference_telemetry import read_logging, read_trace
from sfs_core.errors import ConfigError
from sfs_core.observe.logs import configure_logs
from sfs_core.server.start import run_servers

__all__ = ["FLAGS", "WITHOUT_EFFECT", "log_as", "main"]

logger = logging.getLogger("sfs.cli")

FLAGS: Final[Mapping[str, Kind]] = {
    "serving_config_file": "text",
    "config_mode": "text",
    "logging_config_file": "text",
    "trace_config_file": "text",
    "trace_processor_schedule_delay_millis": "int",
    "max_body_size": "int",
    "workers": "int",
}
"""Flags that do something here, and what their values are."""
WITHOUT_EFFECT: Final[Mapping[str, Kind]] = {
    # of the reference
    "enable_peers_load_balancer": "bool",
    "inferencer_mode": "bool",
    "trace_processor_max_queue_size": "int",
    "trace_processor_max_export_batch_size": "int",
    # of its RPC library, its threads, its counters and its log
    "bthread_concurrency": "int",
    "bthread_min_concurrency": "int",
    "bvar_dump": "bool",
    "bvar_dump_exclude": "text",
    "bvar_dump_file": "text",
    "bvar_dump_include": "text",
    "bvar_dump_interval": "int",
    "bvar_dump_prefix": "text",
    "bvar_dump_tabs": "text",
    "bvar_log_dumpped": "bool",
    "bvar_max_dump_multi_dimension_metric_number": "int",
    "circuit_breaker_long_window_size": "int",
    "circuit_breaker_max_isolation_duration_ms": "int",
    "circuit_breaker_min_isolation_duration_ms": "int",
    "circuit_breaker_short_window_size": "int",
    "connect_timeout_as_unreachable": "int",
    "crash_on_fatal_log": "bool",
    "default_backup_request_ms": "int",
    "defer_close_second": "int",
    "enable_circuit_breaker": "bool",
    "enable_dir_service": "bool",
    "enable_rpcz": "bool",
    "enable_threads_service": "bool",
    "event_dispatcher_num": "int",
    "free_memory_to_system_interval": "int",
    "graceful_quit_on_sighup": "bool",
    "graceful_quit_on_sigterm": "bool",
    "health_check_interval": "int",
    "health_check_path": "text",
    "health_check_timeout_ms": "int",
    "http_body_compress_threshold": "int",
    "http_header_of_user_ip": "text",
    "http_max_error_length": "int",
    "http_verbose": "bool",
    "http_verbose_max_body_length": "int",
    "idle_timeout_second": "int",
    "immutable_flags": "bool",
    "log_as_json": "bool",
    "log_connected": "bool",
    "log_connection_close": "bool",
    "log_error_text": "bool",
    "log_idle_connection_close": "bool",
    "log_pid": "bool",
    "log_year": "bool",
    "max_connection_multiple_size": "int",
    "max_connection_pool_size": "int",
    "max_rpc_pending": "int",
    "min_log_level": "int",
    "minloglevel": "int",
    "ns_access_interval": "int",
    "pb_enum_as_number": "bool",
    "print_stack_on_check": "bool",
    "reuse_addr": "bool",
    "reuse_port": "bool",
    "rpc_dump": "bool",
    "rpcz_database_dir": "text",
    "rpcz_hex_log_id": "bool",
    "rpcz_keep_span_db": "bool",
    "rpcz_keep_span_seconds": "int",
    "rpcz_max_span_per_second": "int",
    "show_hostname_instead_of_ip": "bool",
    "socket_keepalive": "bool",
    "socket_max_unwritten_bytes": "int",
    "socket_recv_buffer_size": "int",
    "socket_send_buffer_size": "int",
    "task_group_ntags": "int",
    "tcp_congestion_control": "text",
    "usercode_backup_threads": "int",
    "usercode_in_pthread": "bool",
    "v": "int",
    "vmodule": "text",
}
"""Flags that are accepted and do nothing."""
_MOST_WORKERS: Final = 128
_HELP: Final = """\
secretflow_serving: serve a model from the configuration of the reference

  --serving_config_file=FILE    serving JSON, or Kuscia's document
  --config_mode=kuscia          the file is Kuscia's document
  --logging_config_file=FILE    LoggingConfig as JSON; without it, serving.log in the current folder
  --trace_config_file=FILE      TraceConfig as JSON; without it, no traces are written
  --trace_processor_schedule_delay_millis=N   milliseconds between writing spans
  --max_body_size=N             most bytes of a request
  --workers=N                   processes that serve; not of the reference
  --flagfile=FILE               further flags, a line each
  --help, --version

Other flags of the reference and its RPC library are accepted and have no effect.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM.

    Args:
        arguments: flags as gflags reads them; the process's own by default.

    Returns:
        The exit code, as of the reference: 0, or 255 where the server could not start or broke off.
    """
    return run_program(_run, arguments)


def _run(arguments: Sequence[str]) -> int:
    given = parse_flags(arguments, {**FLAGS, **WITHOUT_EFFECT})
    if given.get("help") or given.get("version"):
        print(_HELP if given.get("help") else f"secretflow_serving {__version__}")
        return 0
    log_as(_path(given, "logging_config_file"))
    _warn(given)
    loaded = _loaded(given)
    for warning in loaded.file.warnings:
        logger.warning("%s", warning)
    return run_servers([loaded], announce)


def _path(given: Mapping[str, Any], flag: str) -> Path | None:
    return Path(given[flag]) if given.get(flag) else None


def log_as(path: Path | None) -> None:
    """Log as the file says; where nobody named a file and the default one cannot be written, to the console only."""
    settings = read_logging(path)
    try:
        configure_logs(settings)
    except ConfigError as error:
        if path is not None:
            raise
        configure_logs(settings.model_copy(update={"file": None}))
        logger.warning("%s; it is logged to the console only", error.message)


def _warn(given: Mapping[str, Any]) -> None:
    without_effect = sorted(given.keys() & WITHOUT_EFFECT.keys())
    if without_effect:
        logger.warning("no effect here: --%s", ", --".join(without_effect))
    if given.get("config_mode", "") not in ("", "kuscia"):
        raise ConfigError("flag --config_mode: kuscia, or nothing, is expected")


def _loaded(given: Mapping[str, Any]) -> LoadedConfig:
    path = _path(given, "serving_config_file")
    if path is None:
        raise ConfigError("flag --serving_config_file is missing")
    interval = given.get("trace_processor_schedule_delay_millis", 2000) / 1000
    if interval <= 0:
        raise ConfigError("flag --trace_processor_schedule_delay_millis: a number above 0 is expected")
    loaded = load(path, kuscia=given.get("config_mode") == "kuscia")
    options: dict[str, Any] = {"tracing": read_trace(_path(given, "trace_config_file"), interval=interval)}
    if size := given.get("max_body_size", 0):
        if size < 0:
            raise ConfigError("flag --max_body_size: a number above 0 is expected")
        options["limits"] = loaded.config.limits.model_copy(update={"max_body": size})
    if (workers := given.get("workers", 1)) != 1:
        if not 1 < workers <= _MOST_WORKERS:
            raise ConfigError(f"flag --workers: a number from 1 to {_MOST_WORKERS} is expected")
        options["workers"] = workers
    return loaded.changed(**options)
