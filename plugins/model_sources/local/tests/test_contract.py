"""The contract of model sources."""

from __future__ import annotations

import pytest

from sfs_core.testing import ModelSourceCase, ModelSourceContract


class TestContract(ModelSourceContract):
    @pytest.fixture
    def case(self, tmp_path, content):
        (tmp_path / "package.tar.gz").write_bytes(content)
        return ModelSourceCase(component="local", path="package.tar.gz", missing="no.tar.gz", base_directory=tmp_path)
