"""The contract of model sources, with moto's object store."""

from __future__ import annotations

import boto3
import pytest
from moto.server import ThreadedMotoServer

from sfs_core.testing import ModelSourceCase, ModelSourceContract

SECRET = "s3cret-4711"


@pytest.fixture(scope="module")
def store():
    """The URL of an object store with the bucket `models`, and a client of it."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="models")
    yield url, client
    client.close()
    server.stop()


class TestContract(ModelSourceContract):
    @pytest.fixture
    def case(self, store, content):
        url, client = store
        if "Contents" not in client.list_objects_v2(Bucket="models", Prefix="package.tar.gz"):
            client.put_object(Bucket="models", Key="package.tar.gz", Body=content)
        options = {"bucket": "models", "access_key": "AKIA", "secret_key": SECRET, "timeout": 0.5}
        return ModelSourceCase(
            component="s3",
            path="package.tar.gz",
            missing="nothing.tar.gz",
            options={**options, "timeout": 10.0, "endpoint": url},
            options_at=lambda host, port: {**options, "endpoint": f"http://{host}:{port}"},
            secrets=(SECRET,),
        )
