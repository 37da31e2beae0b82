"""`inferencer`: the reference's command line for scoring whole files."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sfs_core import __version__
from sfs_core.cli.bulk import score
from sfs_core.cli.gflags import Kind, parse_flags
from sfs_core.cli.reference_program import run_program
from sfs_core.cli.secretflow_serving import WITHOUT_EFFECT, log_as
from sfs_core.cli.serve import announce
from sfs_core.config.loaded import LoadedConfig
from sfs_core.config.loader import load
from sfs_core.config.reference_inference import Inference, read_inference
from sfs_core.errors import ConfigError
from sfs_core.server.app import Server
from sfs_core.server.bulk import ResultColumns
from sfs_core.server.run import run_loop, serve_until_stopped

__all__ = ["main"]

logger = logging.getLogger("sfs.cli")

FLAGS: Final[Mapping[str, Kind]] = {
    "serving_config_file": "text",
    "inference_config_file": "text",
    "logging_config_file": "text",
}
BLOCK_ROWS: Final = 1000
_HELP: Final = """\
inferencer: score whole files that all parties hold in the same order

  --serving_config_file=FILE    serving JSON with a streaming (or mock) feature source
  --inference_config_file=FILE  InferenceConfig as JSON; all parties name the same requester, which gets the scores
  --logging_config_file=FILE    LoggingConfig as JSON; without it, serving.log in the current folder
  --flagfile=FILE               further flags, a line each
  --help, --version

Other flags of the reference and its RPC library are accepted and have no effect.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Take part in scoring files, as the requester or as another party; ends with the work.

    Args:
        arguments: flags as gflags reads them; the process's own by default.

    Returns:
        The exit code, as of the reference: 0, or 255 where something failed.
    """
    return run_program(_run, arguments)


def _run(arguments: Sequence[str]) -> int:
    given = parse_flags(arguments, {**FLAGS, **WITHOUT_EFFECT})
    if given.get("help") or given.get("version"):
        print(_HELP if given.get("help") else f"inferencer {__version__}")
        return 0
    log_as(_path(given, "logging_config_file", needed=False))
    if without_effect := sorted(given.keys() & WITHOUT_EFFECT.keys()):
        logger.warning("no effect here: --%s", ", --".join(without_effect))
    serving, inference = _path(given, "serving_config_file"), _path(given, "inference_config_file")
    assert serving is not None
    assert inference is not None
    settings = read_inference(inference)
    loaded = load(serving, bulk_requester=settings.requester)
    for warning in loaded.file.warnings:
        logger.warning("%s", warning)

    async def work() -> None:
        server = Server(loaded)
        if loaded.config.party != settings.requester:
            await serve_until_stopped([server], announce)
            return
        rows = await score(server, settings.result, BLOCK_ROWS, _columns(loaded, settings))
        print(f"{rows} rows scored, see {settings.result}")

    run_loop(work())
    return 0


def _path(given: Mapping[str, Any], flag: str, *, needed: bool = True) -> Path | None:
    if needed and not given.get(flag):
        raise ConfigError(f"flag --{flag} is missing")
    return Path(given[flag]) if given.get(flag) else None


def _columns(loaded: LoadedConfig, settings: Inference) -> ResultColumns:
    """Scores, and beside them the file's ids and what else is asked for; scores alone where features are made up."""
    if settings.has_block_size:
        logger.info("block_size has no effect here: blocks have %d rows", BLOCK_ROWS)
    features = loaded.config.services[0].features
    source = features.source if features is not None else None
    if source is None or source.name != "streaming":
        return ResultColumns(settings.score_column)
    options = source.options
    names = (options.get("id_column", "id"), *settings.columns)
    return ResultColumns(settings.score_column, loaded.base_directory / options["path"], tuple(dict.fromkeys(names)))


if __name__ == "__main__":
    sys.exit(main())
