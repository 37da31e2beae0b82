"""Feature sources that each break one rule; the class's name is the component's, `breaks` the rule."""

import asyncio
import contextlib
import os
import socket
import threading
import time

from pydantic import ConfigDict

from sfs_core import Batch, FeatureError, FeatureQuery, FeatureResult, FeatureSource, PluginConfig, Schema, SfsError

ROWS = {"a": (1.5, "one"), "b": (2.5, "two"), "c": (0.0, "three")}


class Options(PluginConfig):
    port: int = 0
    wait: float = 0.05


class Honest(FeatureSource):
    """Keeps all rules: rows in memory."""

    breaks = ""
    Config = Options
    blocking = False

    def values(self, row_id):
        return dict(zip(("x", "text"), ROWS[row_id], strict=True))

    def fetch_rows(self, query):
        known = [each for each in query.ids if each in ROWS]
        missing = [each not in ROWS for each in query.ids]
        if any(missing) and not self.context.report_missing:
            raise FeatureError(f"{sum(missing)} ids are unknown")
        return FeatureResult(self.batch(known), missing=missing if any(missing) else None)

    def batch(self, known):
        return Batch.from_rows(self.schema, [tuple(self.values(i)[n] for n in self.schema.names) for i in known])


class HonestService(Honest):
    """Keeps all rules: asks a service whether it is there, in a pool."""

    blocking = True

    def fetch_rows(self, query):
        if self.config.port:
            try:
                self.ask()
            except OSError as error:
                raise self.no_answer(type(error).__name__, f"127.0.0.1:{self.config.port}") from None
        return super().fetch_rows(query)

    def no_answer(self, kind, place):
        return SfsError(f"the service does not answer ({kind})", where=place)

    def ask(self):
        with socket.create_connection(("127.0.0.1", self.config.port), self.config.wait) as connection:
            connection.sendall(b"?")
            if not connection.recv(1):
                raise ConnectionResetError


class SaysNotWhere(HonestService):
    breaks = "an_error_tells_only_its_own_party_which_service_it_was"

    def no_answer(self, kind, place):
        return SfsError(f"the service does not answer ({kind})")


class TellsAddresses(HonestService):
    breaks = "an_error_tells_only_its_own_party_which_service_it_was"

    def no_answer(self, kind, place):
        return SfsError(f"the service at {place} does not answer", detail=place)


class SortsIds(Honest):
    breaks = "rows_come_in_the_order_of_the_ids"

    def batch(self, known):
        return super().batch(sorted(known) if known == sorted(ROWS, reverse=True) else known)


class UniqueIds(Honest):
    breaks = "a_repeated_id_gives_its_row_again"

    def batch(self, known):
        return super().batch(list(dict.fromkeys(known)) if len(known) == 4 else known)


class AllForNone(Honest):
    breaks = "no_ids_give_no_rows"

    def fetch_rows(self, query):
        return super().fetch_rows(query if query.ids else FeatureQuery(list(ROWS)))


class FirstThousand(Honest):
    breaks = "many_ids_give_as_many_rows"

    def batch(self, known):
        return super().batch(known[:1000])


class SinglePrecision(Honest):
    breaks = "columns_have_the_declared_types"

    def batch(self, known):
        import pyarrow as pa

        table = super().batch(known).to_arrow()
        halves = [c.cast(pa.float32()) if c.type == pa.float64() else c for c in table.columns]
        return (
            Batch.from_arrow(pa.RecordBatch.from_arrays(halves, table.schema.names)) if halves else super().batch(known)
        )


class OwnColumns(Honest):
    breaks = "columns_are_found_by_name"

    def batch(self, known):
        if self.schema.names == ("text", "x"):
            return Batch.from_rows(self.schema, [(ROWS[i][1][::-1], ROWS[i][0]) for i in known])
        return super().batch(known)


class NoColumnsNoRows(Honest):
    breaks = "without_columns_there_are_still_rows"

    def batch(self, known):
        return super().batch(known) if len(self.schema) else Batch.from_rows(Schema(), [])


class MakesRowsUp(Honest):
    breaks = "unknown_ids_are_not_made_up"

    def fetch_rows(self, query):
        if self.context.report_missing:
            return super().fetch_rows(query)
        return FeatureResult(self.batch([each if each in ROWS else "c" for each in query.ids]))


class NeverReports(Honest):
    breaks = "rows_that_are_not_there_are_reported_where_asked"

    def fetch_rows(self, query):
        if any(each not in ROWS for each in query.ids):
            raise FeatureError("ids are unknown")
        return super().fetch_rows(query)


class BareErrors(Honest):
    breaks = "errors_are_sfs_errors"

    def fetch_rows(self, query):
        try:
            return super().fetch_rows(query)
        except FeatureError as error:
            raise KeyError(str(error)) from None


class TellsIds(Honest):
    breaks = "errors_hold_no_ids"

    def fetch_rows(self, query):
        try:
            return super().fetch_rows(query)
        except FeatureError:
            raise FeatureError(f"unknown among {query.ids}") from None


class NeverWell(Honest):
    breaks = "check_passes_when_all_is_well"

    def check(self):
        raise SfsError("not well")


class NeedsOpen(Honest):
    breaks = "it_may_be_closed_without_being_opened"

    def open(self):
        self.file = None

    def close(self):
        del self.file
        self.file = None


class ClosesOnce(Honest):
    breaks = "it_may_be_closed_twice"
    closed = 0

    def close(self):
        self.closed += 1
        if self.closed > 1:
            raise RuntimeError


class LeavesThread(Honest):
    breaks = "no_thread_is_left_behind"

    def open(self):
        threading.Thread(target=threading.Event().wait, daemon=True).start()


class LeavesFile(Honest):
    breaks = "no_file_or_socket_is_left_open"

    def open(self):
        self.descriptor = os.open(os.devnull, os.O_RDONLY)


class LeavesTask(Honest):
    breaks = "no_task_is_left_behind"
    task = None

    async def fetch_rows(self, query):
        self.task = self.task or asyncio.create_task(asyncio.Event().wait())
        return super().fetch_rows(query)


class OneAtATime(Honest):
    breaks = "concurrent_fetches_do_not_mix"

    async def fetch_rows(self, query):
        self.query = query
        await asyncio.sleep(0)
        return super().fetch_rows(self.query)


class FollowsTenant(Honest):
    breaks = "static_rows_depend_on_the_id_alone"
    static = True

    def fetch_rows(self, query):
        others = FeatureQuery(list(reversed(query.ids)) if "x-tenant" in query.headers else query.ids)
        return super().fetch_rows(others)


class TellsIdsWithoutRows(Honest):
    breaks = "the_ids_that_it_tells_have_rows"
    static = True

    def ids(self):
        return [*ROWS, "none of them"]


class Sleeps(Honest):
    breaks = "a_source_that_does_not_block_does_not_wait"

    def fetch_rows(self, query):
        time.sleep(0.0005)
        return super().fetch_rows(query)


class HoldsTheLoop(HonestService):
    breaks = "waiting_leaves_the_event_loop_free"
    blocking = False


class ConnectsTooSoon(HonestService):
    breaks = "it_is_validated_without_its_service"

    def validate(self):
        if self.config.port:
            self.ask()


class NoService(HonestService):
    breaks = "a_service_that_is_not_there_is_an_error an_error_tells_only_its_own_party_which_service_it_was"

    def ask(self):
        with contextlib.suppress(ConnectionRefusedError):
            super().ask()


class NoTimeout(HonestService):
    breaks = "a_service_that_never_answers_is_an_error"

    def ask(self):
        with socket.create_connection(("127.0.0.1", self.config.port)) as connection:
            if not connection.recv(1):
                raise ConnectionResetError


class NoReset(HonestService):
    breaks = "a_service_that_breaks_off_is_an_error"

    def ask(self):
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            super().ask()


class CallsHome(Honest):
    breaks = "what_leaves_the_process_is_declared"

    def open(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as telling:
            telling.sendto(b"?", ("127.0.0.1", 9))


class AnyOption(Honest):
    breaks = "unknown_options_are_refused"

    class Config(Options):
        model_config = ConfigDict(extra="ignore")


class OpenSecret(Honest):
    breaks = "secrets_are_hidden"

    class Config(Options):
        password: str = ""


class QuotesOptions(Honest):
    breaks = "wrong_options_are_not_quoted"

    class Config(Options):
        model_config = ConfigDict(hide_input_in_errors=False)


class Drawn(Honest):
    """Keeps all rules: rows are drawn in order."""

    row_count = 3
    at = 0

    def fetch_rows(self, query):
        rows = list(ROWS)[self.at : self.at + len(query.ids)]
        if len(rows) < len(query.ids):
            raise FeatureError("no more rows")
        self.at += len(rows)
        return FeatureResult(self.batch(rows))


class DrawnForEver(Drawn):
    breaks = "rows_that_are_drawn_come_once_and_in_order"

    def fetch_rows(self, query):
        try:
            return super().fetch_rows(query)
        except FeatureError:
            self.at = 0
            return super().fetch_rows(query)
