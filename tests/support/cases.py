"""The recorded cases: packages that SecretFlow exported, features, and the scores of the reference's engine."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PLAIN = [
    "packages/edge_xgb_logistic",
    "packages/glm_bernoulli_logit",
    "packages/glm_gamma_reciprocal",
    "packages/glm_poisson_expprime",
    "packages/glm_tweedie_log",
    "packages/p3_glm",
    "packages/p3_xgb",
    "packages/post_scorecard_full",
    "packages/pre_binq_onehot_glm",
    "packages/pre_casewhen_glm",
    "packages/pre_fillna_float_glm",
    "packages/pre_ops_sgd",
    "packages/pre_woe_sgd",
    "packages/sf_bin_onehot_glm",
    "packages/sf_features_in_one_party_glm",
    "packages/sgb_linear",
    "packages/sgb_logistic",
    "packages/sgd_linear",
    "packages/sgd_logistic",
    "packages/sgd_logistic_sf11",
    "packages/sgd_onep",
    "packages/sgd_sig_t3",
    "packages/xgb_logistic",
    "packages/xgb_onep",
    "reference_ci/glm",
    "reference_ci/sgb",
    "reference_ci/sgd",
    "reference_ci/xgb",
]
"""Cases without homomorphic encryption."""

HE = [
    "packages/glm_gamma_log_he",
    "packages/post_scorecard_glm_he",
    "packages/pre_woe_sgd_he",
    "packages/sgd_logistic_he",
    "packages/xgb_logistic_he",
    "packages/xgb_onep_he",
    "reference_ci/ou_glm",
    "reference_ci/ou_xgb",
]
"""Cases whose weights are encrypted."""


@dataclass(frozen=True)
class Case:
    """One case: its folder, its parties, the ids scored and the scores of the reference's engine."""

    name: str
    folder: Path
    parties: tuple[str, ...]
    ids: list[str]
    scores: np.ndarray

    def package(self, party: str) -> Path:
        """The party's model package."""
        return self.folder / f"{party}.tar.gz"

    def has_features(self, party: str) -> bool:
        """Whether the party has a file of features; one without uses the mock source."""
        return (self.folder / f"{party}.csv").exists()

    def features(self, party: str) -> Path:
        """The party's file of features."""
        return self.folder / f"{party}.csv"

    def assert_scores(self, scores: np.ndarray | list[float]) -> None:
        """Equal to the reference's engine: to 1e-9 relative (addition orders differ)."""
        np.testing.assert_allclose(scores, self.scores, rtol=1e-9, atol=1e-12)


def load_case(cases: Path, name: str) -> Case:
    """The case called `name` in the folder of cases."""
    folder = cases / name
    parties = tuple(sorted(path.name.removesuffix(".tar.gz") for path in folder.glob("*.tar.gz")))
    standard = min(folder.glob("cpp_score_*.csv"))
    with standard.open(newline="") as file:
        rows = list(csv.DictReader(file))
    column = next(name for name in rows[0] if name != "id")
    return Case(name, folder, parties, [row["id"] for row in rows], np.array([float(row[column]) for row in rows]))
