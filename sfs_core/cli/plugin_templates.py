"""The files of a new plugin, as templates of `string.Template`."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["COMMON", "TEMPLATES", "Template"]


class Template(NamedTuple):
    """What differs between the kinds of components.

    Args:
        title: of the kind.
        prefix: of the package's name.
        module: name of the class's module.
        base: of the class; its declaration is a `…Spec`, its contract a `…Contract`.
        hook: that the declaration module implements.
        summary: what the component is, for `sfs plugins explain`.
        source: the class's module.
        test: the test module.
        libraries: that the class's module imports.
    """

    title: str
    prefix: str
    module: str
    base: str
    hook: str
    summary: str
    source: str
    test: str
    libraries: tuple[str, ...] = ()


_PROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "$distribution"
version = "0.1.0"
description = "The $title $name, for SFS."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["sfs-core>=0.1,<0.2"$libraries]

[project.entry-points."sfs_core.plugins"]
$distribution = "$package"

[tool.hatch.build.targets.wheel]
packages = ["$package"]
"""

_README = """\
# $distribution

The $title `$name`, for SFS.

```console
$$ pip install -e . "sfs-core[testing]"
$$ sfs plugins explain $name
$$ pytest --sfs-report
```

| File | What it is |
|---|---|
| `pyproject.toml` | the entry point in the group `sfs_core.plugins`: the plugin's id and its declaration module |
| `$package/__init__.py` | the declaration: what the plugin offers; imported at every start, so it is light |
| `$package/$module.py` | the class, imported when it is used |
| `tests/test_$package.py` | holds the class to every rule that SFS has for its kind |
"""

_DECLARATION = '''\
"""The $title $name."""

from __future__ import annotations

from sfs_core import ${base}Spec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def $hook() -> list[${base}Spec]:
    """The one component of this plugin."""
    return [${base}Spec("$name", "$package.$module:$class_name", "$summary")]
'''

COMMON: Final = {
    "pyproject.toml": _PROJECT,
    "README.md": _README,
    "$package/__init__.py": _DECLARATION,
    "$package/py.typed": "",
}

_FEATURE_SOURCE = '''\
"""The class of the feature source."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sfs_core import Batch, FeatureError, FeatureQuery, FeatureResult, FeatureSource, PluginConfig


class ${class_name}Config(PluginConfig):
    """Options of the feature source."""

    rows: dict[str, dict[str, Any]]
    """Values by id and feature."""


class $class_name(FeatureSource):
    """Rows that stand in the config; replace them by those of your store."""

    Config = ${class_name}Config
    blocking = False  # it waits for nothing; a source that asks a store leaves this line out

    config: ${class_name}Config

    def fetch_rows(self, query: FeatureQuery) -> FeatureResult:
        """The rows of the ids, in their order."""
        found = [self.config.rows.get(each) for each in query.ids]
        missing = [row is None for row in found]
        if any(missing) and not self.context.report_missing:
            raise FeatureError(f"{sum(missing)} of {len(found)} ids have no row")
        known = [row for row in found if row is not None]
        try:
            columns = [
                pa.array([row[name] for row in known], type_)
                for name, type_ in zip(self.schema.names, self.schema.types, strict=True)
            ]
        except (KeyError, pa.ArrowException):
            raise FeatureError("a row lacks a feature of the model, or has one of another type") from None
        return FeatureResult(Batch.from_columns(self.schema, columns, len(known)), missing=missing)
'''

_FEATURE_SOURCE_TEST = '''\
from __future__ import annotations

import pyarrow as pa
import pytest
from sfs_core import Schema
from sfs_core.testing import FeatureSourceCase, FeatureSourceContract


class TestContract(FeatureSourceContract):
    """Every rule that SFS has for feature sources; `pytest --sfs-report` prints which are kept."""

    @pytest.fixture
    def case(self) -> FeatureSourceCase:
        rows = {"a": {"x": 1.5, "text": "one"}, "b": {"x": 0.25, "text": "two"}}
        return FeatureSourceCase(
            component="$name",
            schema=Schema([("x", pa.float64()), ("text", pa.utf8())]),
            rows={key: (row["x"], row["text"]) for key, row in rows.items()},
            options={"rows": rows},
        )
'''

_MODEL_SOURCE = '''\
"""The class of the model source."""

from __future__ import annotations

from pathlib import Path

from sfs_core import ErrorCode, ModelSource, PackageError, Progress

_CHUNK_BYTES = 1 << 20


class $class_name(ModelSource):
    """A file of this machine; replace it by an object of your store."""

    def download(self, path: str, to: Path, progress: Progress) -> None:
        """Write the package to the file `to`."""
        source = self.context.resolve(path)
        try:
            total, done = source.stat().st_size, 0
            with source.open("rb") as reading, to.open("xb") as writing:
                while chunk := reading.read(_CHUNK_BYTES):
                    writing.write(chunk)
                    done += len(chunk)
                    progress(done, total)
        except FileNotFoundError:
            raise PackageError("there is no such model package", code=ErrorCode.NOT_FOUND, where=path) from None
        except OSError as error:
            raise PackageError(
                f"the model package cannot be fetched ({type(error).__name__})", code=ErrorCode.IO_ERROR, where=path
            ) from None
'''

_MODEL_SOURCE_TEST = '''\
from __future__ import annotations

from pathlib import Path

import pytest
from sfs_core.testing import ModelSourceCase, ModelSourceContract


class TestContract(ModelSourceContract):
    """Every rule that SFS has for model sources; `pytest --sfs-report` prints which are kept."""

    @pytest.fixture
    def case(self, tmp_path: Path, content: bytes) -> ModelSourceCase:
        (tmp_path / "package.tar.gz").write_bytes(content)
        return ModelSourceCase(
            component="$name", path="package.tar.gz", missing="nothing.tar.gz", base_directory=tmp_path
        )
'''

_OPERATOR = '''\
"""The class of the operator."""

from __future__ import annotations

import pyarrow as pa
from sfs_core import Batch, ComputeContext, Operator, Schema, attr


class $class_name(Operator, name="$name", version="0.0.1", inputs=["features"], output="result"):
    """A column times a factor; replace it by what you compute."""

    input_col_name: str = attr("Column of the numbers.")
    output_col_name: str = attr("Name of the results' column.")
    factor: float = attr("What the numbers are multiplied by.", default=1.0)

    def input_schemas(self) -> list[Schema]:
        """One table, of the numbers."""
        return [Schema([(self.input_col_name, pa.float64())])]

    def output_schema(self) -> Schema:
        """The results."""
        return Schema([(self.output_col_name, pa.float64())])

    def compute(self, context: ComputeContext, features: Batch) -> Batch:
        """Multiply."""
        return Batch.from_columns(self.output_schema(), [features.float64(0) * self.factor], features.num_rows)
'''

_OPERATOR_TEST = '''\
from __future__ import annotations

import pytest
from sfs_core.testing import OperatorCase, OperatorContract


class TestContract(OperatorContract):
    """Every rule that SFS has for operators; `pytest --sfs-report` prints which are kept."""

    @pytest.fixture
    def case(self) -> OperatorCase:
        return OperatorCase(
            component="$name",
            attributes={"input_col_name": "x", "output_col_name": "y", "factor": 2.0},
            inputs=[[(1.5,), (-4.0,)]],
            expected=[(3.0,), (-8.0,)],
        )
'''

_AUTHENTICATOR = '''\
"""The class of the authenticator."""

from __future__ import annotations

import hmac

from pydantic import SecretStr
from sfs_core import AuthenticationError, Authenticator, Caller, Credentials, PluginConfig


class ${class_name}Config(PluginConfig):
    """Options of the authenticator."""

    header: str = "x-password"
    """Header that holds the password, in lower case."""
    password: SecretStr
    """The caller's password."""
    caller: str
    """The caller's name."""


class $class_name(Authenticator):
    """One caller with one password; replace it by how your callers are known."""

    Config = ${class_name}Config

    config: ${class_name}Config

    def authenticate(self, credentials: Credentials) -> Caller | None:
        """The caller, where the header is there."""
        shown = credentials.headers.get(self.config.header)
        if shown is None:
            return None
        password = self.config.password.get_secret_value().encode()
        if not hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), password):
            raise AuthenticationError("the password is not right")
        return Caller(self.config.caller)
'''

_AUTHENTICATOR_TEST = '''\
from __future__ import annotations

import pytest
from sfs_core import Caller, Credentials
from sfs_core.testing import AuthenticatorCase, AuthenticatorContract


class TestContract(AuthenticatorContract):
    """Every rule that SFS has for authenticators; `pytest --sfs-report` prints which are kept."""

    @pytest.fixture
    def case(self) -> AuthenticatorCase:
        return AuthenticatorCase(
            component="$name",
            options={"header": "x-word", "password": "open sesame", "caller": "shop"},
            secrets=("open sesame",),
            good=Credentials({"x-word": "open sesame"}),
            caller=Caller("shop"),
            wrong=[Credentials({"x-word": "open barley"})],
        )
'''

TEMPLATES: Final = {
    "authenticator": Template(
        title="authenticator",
        prefix="sfs_auth",
        module="authenticator",
        base="Authenticator",
        hook="sfs_authenticators",
        summary="one caller with one password",
        source=_AUTHENTICATOR,
        test=_AUTHENTICATOR_TEST,
        libraries=("pydantic>=2.11",),
    ),
    "feature-source": Template(
        title="feature source",
        prefix="sfs_feature",
        module="source",
        base="FeatureSource",
        hook="sfs_feature_sources",
        summary="rows that stand in the config",
        source=_FEATURE_SOURCE,
        test=_FEATURE_SOURCE_TEST,
        libraries=("pyarrow>=15",),
    ),
    "model-source": Template(
        title="model source",
        prefix="sfs_model",
        module="source",
        base="ModelSource",
        hook="sfs_model_sources",
        summary="files of this machine",
        source=_MODEL_SOURCE,
        test=_MODEL_SOURCE_TEST,
    ),
    "operator": Template(
        title="operator",
        prefix="sfs_op",
        module="operator",
        base="Operator",
        hook="sfs_operators",
        summary="a column times a factor",
        source=_OPERATOR,
        test=_OPERATOR_TEST,
        libraries=("pyarrow>=15",),
    ),
}
