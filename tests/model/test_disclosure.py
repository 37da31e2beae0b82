from __future__ import annotations

from sfs_core.host.registry import Registry
from sfs_core.model.disclosure import disclosures
from sfs_core.model.split import split_linear
from sfs_core.model.validation import check_graph


def test_it_is_said_what_crosses_the_border() -> None:
    operator = Registry.discover().operator
    graphs = split_linear(operator, {"alice": {"x": 1.0}, "bob": {"y": 2.0}}, label_holder="alice", intercept=0.0)
    (sentence,) = disclosures(check_graph(graphs["bob"], operator))
    assert sentence.startswith(
        "the party that is asked gets in execution 0: for each row, this party's part of the score"
    )
    assert sentence.endswith("(DOT_PRODUCT)")
