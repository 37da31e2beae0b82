"""Whether a party can answer predictions: its models are loaded, the parties agree, and feature sources are up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson

from sfs_core.errors import SfsError
from sfs_core.server.keys import Preparation
from sfs_core.server.served import ServedModels

__all__ = ["Readiness"]

logger = logging.getLogger("sfs.ready")

CHECK_SECONDS: Final = 5.0
"""Between two rounds of questions to the feature sources: what is told of them is so old at most, and a bit."""
PATIENCE_SECONDS: Final = 2.0
"""How long a source may take to say that it is up."""
_NO_ANSWER: Final = "it does not say whether it is up within the time it has"


class Readiness:
    """Keeps an eye on what predictions need; nobody who asks for a prediction waits for that.

    Args:
        party: this party, for its log.
        models: what is served, at any moment.

    Attributes:
        can_record: whether requests can be written down, without which they are refused.
        others: of a worker: the numbers of all workers that do not answer predictions, once that is known.
    """

    def __init__(self, party: str, models: ServedModels) -> None:
        self.can_record: Callable[[], bool] = lambda: True
        self.others: list[int] | None = None
        self._party = party
        self._models = models
        self._failing: dict[str, str] = {}
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="sfs-check")
        self._following: asyncio.Future[None] | None = None
        self._answering = False
        self._retiring = False

    def start(self) -> None:
        """Ask the sources from now on, in the background."""
        self._following = asyncio.ensure_future(self._follow())

    def answer(self) -> None:
        """Say from now on that this party is ready, unless something is missing: its ports for callers are open."""
        self._answering = True

    def retire(self) -> None:
        """Say from now on that this party is not ready: it is about to end."""
        self._retiring = True

    def stop(self) -> None:
        """Ask nobody any more."""
        if self._following is not None:
            self._following.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------- asking sources
    async def _follow(self) -> None:
        while True:
            await self.check()
            await asyncio.sleep(CHECK_SECONDS)

    async def check(self) -> None:
        """Ask every source once, all at the same time."""
        checks = {
            service: source.check
            for service, model in self._models.items()
            if (source := model.executor.features.source) is not None
        }
        outcomes = await asyncio.gather(*map(self._outcome, checks, checks.values()))
        failing = {service: text for service, text in zip(checks, outcomes, strict=True) if text}
        for service in sorted(failing.keys() - self._failing.keys()):
            logger.warning("%s: %s is not ready: its feature source: %s", self._party, service, failing[service])
        for service in sorted(self._failing.keys() - failing.keys()):
            logger.info("%s: the feature source of %s is up again", self._party, service)
        self._failing = failing

    async def _outcome(self, service: str, check: Callable[[], None]) -> str:
        """What is wrong with a source, in words for this party's log; nothing where it is up."""
        if service not in self._asked:  # one that hangs is not asked again on top of that
            self._asked[service] = asyncio.get_running_loop().run_in_executor(self._pool, check)
        try:
            await asyncio.wait_for(asyncio.shield(self._asked[service]), PATIENCE_SECONDS)
        except TimeoutError:
            if not self._asked[service].done():
                return _NO_ANSWER
            text = _NO_ANSWER
        except SfsError as error:
            text = error.public_text()
        except Exception as error:  # noqa: BLE001 - a plugin's code; its exception may quote anything
            text = f"unexpected {type(error).__name__}"
        else:
            text = ""
        del self._asked[service]
        return text

    # ------------------------------------------------------------------------- telling
    @property
    def failing(self) -> Collection[str]:
        """The services of which a feature source did not pass its last check."""
        return self._failing.keys()

    def is_ready(self, service: str) -> bool:
        """Whether predictions of a service are answered, as far as this party knows."""
        model = self._models[service]
        return self._open and model.predictor is not None and service not in self._failing and self.can_record()

    @property
    def _open(self) -> bool:
        return self._answering and not self._retiring

    def page(self) -> tuple[int, str, bytes]:
        """`/ready`: 200 when every service is, and every worker, else 503; and what is missing."""
        _, body = self.own()
        if self.others is not None:
            body |= {"ready": body["ready"] and not self.others, "workers_not_ready": self.others}
        return 200 if body["ready"] else 503, "application/json", orjson.dumps(body)

    def own(self) -> tuple[bool, dict[str, Any]]:
        """Whether this process is ready, and what is missing."""
        unready = {service: model.preparation for service, model in self._models.items() if model.predictor is None}
        waiting = sorted(service for service, preparation in unready.items() if preparation is None)
        failing = sorted(self._failing.keys() & self._models.keys())
        recorded = self.can_record()
        ready = bool(self._models) and self._open and recorded and not (unready or failing)
        body: dict[str, Any] = {
            "ready": ready,
            "services": sorted(self._models),
            "waiting_for_peers": waiting,
            "failing_feature_sources": failing,
            "starting": not self._answering,
            "stopping": self._retiring,
        }
        if not recorded:
            body["failing_audit_log"] = True
        preparing = {service: _told(preparation) for service, preparation in unready.items() if preparation}
        if preparing:
            body["preparing"] = preparing
        return ready, body


def _told(preparation: Preparation) -> dict[str, float | None]:
    left = preparation.seconds_left
    return {
        "percent": round(100 * preparation.share, 1),
        "seconds_left": None if left is None else round(left, 1),
    }
