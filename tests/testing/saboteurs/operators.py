"""Operators that each break one rule."""

import secrets
import socket
import struct
import threading
import time

import numpy as np
import pyarrow as pa

from sfs_core import Batch, Fusion, Operator, Schema, attr


class Base(Operator):
    """Keeps all rules: a column times a factor, or the sum of the parties' columns times it."""

    breaks = ""

    def input_schemas(self):
        return [Schema([("x", pa.float64())])]

    def output_schema(self):
        return Schema([("y", pa.float64())])

    def result(self, column):
        return Batch.from_columns(self.output_schema(), [column * self.factor], len(column))

    def compute(self, context, table):
        return self.result(table.float64(0))


def saboteur(rule, suffix="", *, base=None, merges=False, description="The factor.", **methods):
    """The class of an operator that breaks a rule."""
    base = base or Base
    name = ("".join(word.title() for word in rule.split("_")) or "Honest") + suffix
    if merges:
        methods.setdefault("compute", _merge)
    annotations = {"factor": float}
    body = {
        "__doc__": "A factor.",
        "__annotations__": annotations,
        "factor": attr(description),
        "breaks": rule,
        **methods,
    }
    return type(Base)(name, (base,), body, name=name, version="1", inputs=["x"], output="y", mergeable=merges)


def _merge(self, context, tables):
    return self.result(sum(table.float64(0) for table in tables))


def _without_rows(self, context, table):
    return Base.compute(self, context, table) if table.num_rows else Batch.from_rows(self.output_schema(), [(0.0,)])


def _one_row(self, context, table):
    return Base.compute(self, context, table) if table.num_rows != 1 else Batch.from_rows(self.output_schema(), [])


def _many_rows(self, context, table):
    few = table.take(range(min(table.num_rows, 100)))
    return Base.compute(self, context, few)


def _other_schema(self, context, table):
    return Batch.from_columns(Schema([("z", pa.float64())]), [table.float64(0) * self.factor], table.num_rows)


def _by_form(self, context, table):
    return self.result(table.float64(0) + (0.5 if table.form == "rows" else 0.0))


def _counts(self, context, table):
    self.calls = getattr(self, "calls", 0) + 1
    return self.result(table.float64(0) + (1e-12 if self.calls % 2 == 0 else 0.0))


def _writes(self, context, table):
    result = self.result(table.float64(0))
    if table.num_rows == 2 and table.float64(0).flags.writeable:
        table.float64(0)[0] = 7.0
    return result


def _lenient(self, attribute):
    found = self.node.attributes.get(attribute.name)
    return 2.0 if found is None else Operator._attribute_value(self, attribute)


def _converting(self, attribute):
    found = self.node.attributes.get(attribute.name)
    return float(found.value) if found else Operator._attribute_value(self, attribute)


def _zero_for_null(self, context, table):
    return self.result(table.arrow(0).fill_null(0.0).to_numpy(zero_copy_only=False))


def _crashes(self, context, table):
    column = table.float64(0)
    if not np.isfinite(column).all():
        raise ValueError
    return self.result(column)


def _two_only(self, context, tables):
    self.require(len(tables) == 3 or len(tables) == 1, "three tables are needed")
    return _merge(self, context, tables)


def _shared(self, context, table):
    if threading.current_thread() is threading.main_thread():
        return Base.compute(self, context, table)
    return self.result(table.float64(0) + 1.0)


def _by_requester(self, context, table):
    return self.result(table.float64(0) + (0.0 if context.requester == context.party else 1.0))


def _one_version(self):
    self.require(self.node.op_version == "1", "another version")


def _sleeps(self, context, table):
    time.sleep(0.0005)
    return Base.compute(self, context, table)


def _tells(self, context, table):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as telling:
        telling.sendto(b"?", ("127.0.0.1", 9))
    return Base.compute(self, context, table)


class Packed(Base):
    """Keeps all rules: a column times a factor, in one cell, and each time in other bytes."""

    def input_schemas(self):
        return [Schema([("x", pa.binary())])]

    def output_schema(self):
        return Schema([("y", pa.binary())])

    def compute(self, context, table):
        ((cell,),) = table.rows()
        self.require(len(cell) > 0, "there are no rows")
        return pack(self.output_schema(), [(x * self.factor,) for (x,) in unpack(self, table)])


def pack(schema, rows):
    """Numbers in the cell of a table, with something random."""
    cell = b"".join(struct.pack("<dQ", x, secrets.randbits(64)) for (x,) in rows)
    return Batch.from_rows(schema, [(cell,)])


def unpack(operator, table):
    ((cell,),) = table.rows()
    return [(x,) for x, _ in struct.iter_unpack("<dQ", cell)]


def _packed_anyway(self, context, table):
    return pack(self.output_schema(), [(x * self.factor,) for (x,) in unpack(self, table)])


def _fuse(error):
    def fuse(cls, execution):
        for name, operator in execution.operators.items():

            def compute(context, table, o=operator):
                return [o.result(table.float64(0) + error)]

            yield Fusion((name,), (None,), tuple(operator.input_schemas()), (name,), compute)

    return classmethod(fuse)


SABOTEURS = [
    saboteur("", fuse=_fuse(0.0)),
    saboteur("", "Merge", merges=True),
    saboteur("it_is_described", description=""),
    saboteur("mandatory_attributes_are_needed", _attribute_value=_lenient),
    saboteur("attributes_of_another_type_are_refused", _attribute_value=_converting),
    saboteur("extensions_are_named_after_the_plugin", extensions=lambda self: ["packing"]),
    saboteur("the_output_has_the_declared_schema", compute=_other_schema),
    saboteur("no_rows_give_no_rows", compute=_without_rows),
    saboteur("one_row_gives_one_row", compute=_one_row),
    saboteur("many_rows_give_as_many_rows", compute=_many_rows),
    saboteur("all_forms_of_a_batch_agree", compute=_by_form),
    saboteur("equal_inputs_give_equal_outputs", compute=_counts),
    saboteur("its_inputs_stay_as_they_are", compute=_writes),
    saboteur("threads_do_not_disturb_each_other", compute=_shared),
    saboteur("nulls_are_refused_or_computed", compute=_zero_for_null),
    saboteur("odd_numbers_are_computed_or_refused", compute=_crashes),
    saboteur("it_merges_the_tables_of_parties", merges=True, compute=_two_only),
    saboteur("fused_nodes_compute_what_single_ones_do", fuse=_fuse(1.0)),
    saboteur("row_wise_outputs_follow_from_the_row", row_wise=True, compute=_by_requester),
    saboteur("another_version_is_served_unless_it_says_otherwise", setup=_one_version),
    saboteur("it_touches_memory_only", compute=_sleeps),
    saboteur("it_touches_memory_only", "Telling", heavy=True, compute=_tells),
    saboteur("", "Packed", base=Packed),
    saboteur("no_rows_give_no_rows", "Packed", base=Packed, compute=_packed_anyway),
    saboteur("row_wise_outputs_follow_from_the_row", "Packed", base=Packed, row_wise=True),
]
globals().update({cls.__name__: cls for cls in SABOTEURS})
