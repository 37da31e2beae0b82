"""Operator: one kind of graph node, written as a class with typed attributes, two schemas and one method.

    class DotProduct(Operator, name="DOT_PRODUCT", version="0.0.2", inputs=["features"], output="partial_ys"):
        '''Dot product of this party's features and the model's weights.'''

        feature_names: list[str] = attr("Names of the features.")
        intercept: float = attr("Constant added to each row.", default=0.0)

        def setup(self): ...
        def input_schemas(self): ...
        def output_schema(self): ...
        def compute(self, context, features): ...

Annotations become the operator's definition (`op.OpDef` of the reference): `str`, `bool`, `bytes`, `float`
(AT_DOUBLE), `int` (AT_INT64), `Int32`, `Float32`, or a list of one of these; a default makes an attribute optional.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, NoReturn, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from sfs_core.batch import Batch, Schema
from sfs_core.block import BlockLayout, TableBlock
from sfs_core.errors import ErrorCode, GraphError
from sfs_core.sdk.context import PluginConfig

__all__ = [
    "Attribute",
    "AttributeValue",
    "Cluster",
    "ComputeContext",
    "Definition",
    "ExecutionView",
    "Float32",
    "Fusion",
    "Int32",
    "NodeSpec",
    "Operator",
    "attr",
]

Int32 = Annotated[int, "i32"]
"""Annotation of an AT_INT32 attribute."""
Float32 = Annotated[float, "f"]
"""Annotation of an AT_FLOAT attribute."""

_SCALAR_CASES: Final[dict[Any, str]] = {
    str: "s",
    bool: "b",
    bytes: "by",
    float: "d",
    int: "i64",
    Int32: "i32",
    Float32: "f",
}
_EMPTY: Final[dict[str, Any]] = {"s": "", "b": False, "by": b"", "d": 0.0, "f": 0.0, "i32": 0, "i64": 0}


class _Missing:
    def __repr__(self) -> str:
        return "required"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of an operator.

    Args:
        name: as in `attr_values`.
        case: the `AttrValue` field that holds it: s, b, by, d, f, i32, i64, or the same with `s` appended (a list).
        description: for people.
        default: the value where a node has none; `MISSING` for a mandatory attribute.
    """

    name: str
    case: str
    description: str
    default: Any

    @property
    def is_list(self) -> bool:
        """Whether it holds a list."""
        return self.case not in _EMPTY


@dataclass(frozen=True, slots=True)
class Definition:
    """What the graph validator and `OpDef` need to know of an operator."""

    name: str
    version: str
    description: str
    inputs: tuple[str, ...]
    output: str
    attributes: tuple[Attribute, ...]
    returnable: bool
    mergeable: bool
    variable_inputs: bool
    exact_version: bool


@dataclass(frozen=True, slots=True)
class AttributeValue:
    """A value of a node as its package has it: the `AttrValue` field and its content (lists as Python lists)."""

    case: str
    value: Any


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node of a graph: what an operator is made from."""

    name: str
    op: str
    op_version: str = ""
    parents: tuple[str, ...] = ()
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ComputeContext:
    """Who computes for whom.

    Args:
        party: the party that runs the operator.
        requester: the party that received the prediction request.
    """

    party: str
    requester: str


def _tell_nobody(done: int, total: int) -> None:
    """Progress that nobody follows."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Cluster:
    """What operators learn when the parties have agreed on the model; one object for all operators of a model.

    Args:
        party: this party.
        parties: all parties, this one included, in ascending order.
        public_keys: each party's key for homomorphic encryption as its package has it; parties without keys are absent.
        secret_key: this party's; empty when its package has none. Shows in no representation.
        encode_scale: fixed-point scale of encrypted weights; 0 when the package has none.
        progress: to be called by a `prepare` that takes long, now and then: `done` of `total` of its work is done.
        extensions: names that the model's operators announce at all parties, see `Operator.extensions`.
    """

    party: str
    parties: tuple[str, ...]
    public_keys: Mapping[str, bytes] = field(repr=False)
    secret_key: bytes = field(repr=False)
    encode_scale: int = 0
    progress: Callable[[int, int], None] = field(default=_tell_nobody, repr=False)
    extensions: frozenset[str] = frozenset()

    def __reduce__(self) -> NoReturn:
        raise TypeError("what holds a secret key is not pickled")


def attr(description: str, *, default: Any = MISSING) -> Any:
    """Describe an attribute of an operator; with a default it is optional."""
    return Attribute("", "", description, default)


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """One execution, as `Operator.fuse` sees it.

    Args:
        operators: of its nodes, by name, parents before children.
        outputs: nodes whose tables leave the execution.
    """

    operators: Mapping[str, Operator]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fusion:
    """Several nodes of an execution, computed by one function.

    Core uses it where the nodes between them hide no table that somebody else needs, and where nothing outside must
    run between them; otherwise the nodes run one by one. The same scores must come out either way.

    Args:
        nodes: what it replaces.
        parents: nodes outside of it whose tables it takes; None stands for the features.
        schemas: the columns that it needs of each parent.
        outputs: nodes whose tables it returns.
        compute: called like `Operator.compute`, with one argument per parent; returns one batch per output. Where it
            returns None or raises an SfsError, the nodes run one by one, so that the error is theirs.
        mergeable: whether arguments are lists of the parties' tables.
        by_party: whether `compute` takes one argument instead: a list with a mapping per party (requester first, then
            by party id) of its tables by parent, all of as many rows. A mapping is a `TableBlock`, which may have more
            tables, where that is how they came. Only for mergeable nodes whose parents are of earlier executions.
        layout: of the `TableBlock` that `compute` returns instead of batches, with `outputs` for names; None: batches.
    """

    nodes: tuple[str, ...]
    parents: tuple[str | None, ...]
    schemas: tuple[Schema, ...]
    outputs: tuple[str, ...]
    compute: Callable[..., Sequence[Batch] | TableBlock | None]
    mergeable: bool = False
    by_party: bool = False
    layout: BlockLayout | None = None


class Operator(ABC):
    """Base of operators; one instance serves one node for the life of a model.

    Class keywords: `name`, `version`, `inputs` (names, in the order of a node's parents), `output`,
    `returnable` (may end a graph), `mergeable` (takes the tables of several parties), `variable_inputs`
    (any number of parents), `exact_version` (a node's `op_version` must equal `version`).
    A subclass without `name=` is a shared base.

    Attributes:
        Config: the model of its options, which a config gives under `operators`; operators of one plugin may share it.
        config: the options.
        node: the node.
    """

    Config: ClassVar[type[PluginConfig]] = PluginConfig
    definition: ClassVar[Definition]
    heavy: ClassVar[bool] = False
    """True: `compute` takes milliseconds and runs in a pool instead of on the event loop."""
    row_wise: bool = False
    """True: a row of the output follows from the same row of the inputs alone; not from other rows, from who asks, from
    chance or from time. What comes of rows that never change may then be remembered (`features.precompute`)."""
    row_bytes: int = 0
    """How many bytes each row adds to its output, about, where that is more than a few numbers; may be set by
    `prepare`. Requests are joined only as far as one message holds what comes of it."""
    discloses: ClassVar[str] = "its whole result, in the clear"
    """What another party learns that is sent this operator's output; servers say so when they start."""

    def __init_subclass__(
        cls,
        *,
        name: str = "",
        version: str = "",
        inputs: Sequence[str] = (),
        output: str = "",
        returnable: bool = False,
        mergeable: bool = False,
        variable_inputs: bool = False,
        exact_version: bool = False,
        **keywords: Any,
    ) -> None:
        super().__init_subclass__(**keywords)
        if not name:
            return
        cls.definition = Definition(
            name=name,
            version=version,
            description=(cls.__doc__ or "").strip(),
            inputs=tuple(inputs),
            output=output,
            attributes=_attributes(cls),
            returnable=returnable,
            mergeable=mergeable,
            variable_inputs=variable_inputs,
            exact_version=exact_version,
        )

    def __init__(self, node: NodeSpec, config: PluginConfig | None = None) -> None:
        """Read the node's attributes, then `setup`.

        Args:
            node: of the graph.
            config: the options, of type `Config`; by default all have their defaults.

        Raises:
            GraphError: a mandatory attribute is missing (code 2) or holds another type (code 7), the version does
                not fit (code 7), an option has no default and is not given (code 3), or `setup` refuses the node.
        """
        self.node = node
        self.config = self.__default_config() if config is None else config
        definition = self.definition
        if definition.exact_version and node.op_version != definition.version:
            raise self.__error(f"op_version {node.op_version!r} is not served", hint=f"needed: {definition.version}")
        for attribute in definition.attributes:
            setattr(self, attribute.name, self._attribute_value(attribute))
        try:
            self.setup()
        except GraphError as error:
            error.node = error.node or node.name
            raise

    def __default_config(self) -> PluginConfig:
        try:
            return self.Config()
        except ValidationError as error:
            missing = ", ".join(str(each["loc"][0]) for each in error.errors(include_input=False) if each["loc"])
            raise self.__error(
                f"options are missing in the config: {missing}",
                code=ErrorCode.INVALID_ARGUMENT,
                hint=f"give them as `operators: {{{self.definition.name}: {{…}}}}`",
            ) from None

    def _attribute_value(self, attribute: Attribute) -> Any:
        found = self.node.attributes.get(attribute.name)
        if found is None:
            if attribute.default is MISSING:
                raise self.__error(f"attribute {attribute.name!r} is missing", code=ErrorCode.UNEXPECTED_ERROR)
            return list(attribute.default) if attribute.is_list else attribute.default
        if found.case != attribute.case:
            raise self.__error(f"attribute {attribute.name!r} holds {found.case or 'nothing'}, not {attribute.case}")
        return found.value

    def __error(self, message: str, *, code: ErrorCode = ErrorCode.LOGIC_ERROR, hint: str = "") -> GraphError:
        return GraphError(f"{self.definition.name}: {message}", code=code, node=self.node.name, hint=hint)

    def require(self, condition: bool, message: str, *, code: ErrorCode = ErrorCode.LOGIC_ERROR) -> None:
        """Raise a GraphError naming this node unless `condition` holds."""
        if not condition:
            raise self.__error(message, code=code)

    # ---------------------------------------------------------- the author's part
    def setup(self) -> None:
        """Check the attributes and make tables from them; called once when the model is loaded.

        Raises:
            GraphError: the node cannot work.
        """

    def check_keys(self, cluster: Cluster) -> None:
        """Check this party's own keys, when its model is loaded and in `sfs check`: nothing is known of other parties
        yet, `cluster` has this one alone. Operators that need no keys leave it out.

        Raises:
            GraphError: with these keys, `prepare` could not succeed.
        """

    def extensions(self) -> Iterable[str]:
        """What it can do beyond the reference's protocol, as names of the form `plugin/extension`, if its config wants
        that. Parties tell each other in the handshake; those that all parties of a model announce are in
        `Cluster.extensions`, and everywhere or nowhere in use. Name an extension anew when its form changes.
        """
        return ()

    def prepare(self, cluster: Cluster) -> None:
        """Make what needs the other parties' keys; called once, before the first `compute`, in a thread: it may take
        seconds. Operators that need no keys leave it out.

        Raises:
            GraphError: the node cannot work in this cluster.
        """

    def state(self) -> Mapping[str, float]:
        """Numbers that tell how the operator is, by name, for the metric `sfs_operator_state`.

        Read when somebody asks for metrics, in the event loop; operators that share what they tell of give it one name.
        """
        return {}

    @classmethod
    def fuse(cls, execution: ExecutionView) -> Iterable[Fusion]:
        """Offers to compute several nodes of an execution at once; asked once per class when a model is loaded."""
        return ()

    @abstractmethod
    def input_schemas(self) -> list[Schema]:
        """The columns needed of each parent, in the order of the node's parents (one for an entry node)."""

    @abstractmethod
    def output_schema(self) -> Schema:
        """The columns that `compute` returns; without columns, the output is not checked."""

    @abstractmethod
    def compute(self, context: ComputeContext, *inputs: Any) -> Batch:
        """The node's output.

        Args:
            context: who computes for whom.
            inputs: one per parent, in order: a `Batch`, or for a mergeable operator a list of batches, one per
                party that ran the parent (requester first, then by party id). Core has checked counts and row
                numbers and projected the columns to `input_schemas()`.

        Raises:
            SfsError: a value cannot be processed; the message gives column and row index, never the value.
        """


def _attributes(cls: type[Operator]) -> tuple[Attribute, ...]:
    attributes = []
    for name, annotation in get_type_hints(cls, include_extras=True).items():
        declared = getattr(cls, name, None)
        if isinstance(declared, Attribute):
            attributes.append(Attribute(name, _case(cls, name, annotation), declared.description, declared.default))
    return tuple(attributes)


def _case(cls: type[Operator], name: str, annotation: Any) -> str:
    element = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    if element not in _SCALAR_CASES:
        raise TypeError(f"{cls.__name__}.{name}: attributes are str, bool, bytes, float, int, Int32, Float32 or lists")
    case = _SCALAR_CASES[element]
    return case + "s" if element is not annotation else case
