"""Encrypted two-party models: neither party sees the other's weights or partial scores."""

from __future__ import annotations

from sfs_core import CommandSpec, OperatorSpec, hookimpl

SFS_API = ">=1,<2"


@hookimpl
def sfs_operators() -> list[OperatorSpec]:
    """The nodes of encrypted linear models, then those of encrypted tree ensembles."""
    return [
        OperatorSpec(
            "PHE_2P_DOT_PRODUCT",
            "sfs_op_phe.dot_product:PheDotProduct",
            "a party's features times weights that the other party's key encrypts",
        ),
        OperatorSpec("PHE_2P_REDUCE", "sfs_op_phe.reduce:PheReduce", "what one of the parties is to decrypt"),
        OperatorSpec(
            "PHE_2P_DECRYPT_PEER_Y", "sfs_op_phe.decrypt_peer_y:PheDecryptPeerY", "the requester's masked partial score"
        ),
        OperatorSpec("PHE_2P_MERGE_Y", "sfs_op_phe.merge_y:PheMergeY", "the masked sums through a link function"),
        OperatorSpec(
            "PHE_2P_TREE_SELECT", "sfs_op_phe.tree_select:PheTreeSelect", "leaves a party's features leave, encrypted"
        ),
        OperatorSpec(
            "PHE_2P_TREE_MERGE", "sfs_op_phe.tree_merge:PheTreeMerge", "the encrypted weight of the one leaf left"
        ),
        OperatorSpec(
            "PHE_2P_TREE_ENSEMBLE_MERGE", "sfs_op_phe.tree_ensemble:PheTreeEnsembleMerge", "the encrypted sum of trees"
        ),
        OperatorSpec(
            "PHE_2P_TREE_ENSEMBLE_PREDICT",
            "sfs_op_phe.tree_ensemble:PheTreeEnsemblePredict",
            "the trees' sum, decrypted, through a link function",
        ),
    ]


@hookimpl
def sfs_commands() -> list[CommandSpec]:
    """`sfs he`."""
    return [CommandSpec("he", "sfs_op_phe.commands:command", "Make and inspect keys and packages of encrypted models.")]
