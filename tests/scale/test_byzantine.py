"""Clusters with Byzantine nodes."""

from scenario import run


def test_1000_nodes_no_byzantine():
    run("1000_nodes_no_byzantine")


def test_1000_nodes_10percent_byzantine_random():
    run("1000_nodes_10percent_byzantine_random")


def test_1000_nodes_20percent_byzantine_random():
    run("1000_nodes_20percent_byzantine_random")


def test_1000_nodes_30percent_byzantine_random():
    run("1000_nodes_30percent_byzantine_random")


def test_1000_nodes_33percent_byzantine_should_fail():
    run("1000_nodes_33percent_byzantine_should_fail")


def test_1000_nodes_20percent_always_reject():
    run("1000_nodes_20percent_always_reject")


def test_1000_nodes_20percent_always_accept():
    run("1000_nodes_20percent_always_accept")


def test_1000_nodes_20percent_coordinated_collusion():
    run("1000_nodes_20percent_coordinated_collusion")


def test_1000_nodes_sybil_attack():
    run("1000_nodes_sybil_attack")


def test_1000_nodes_byzantine_latency_impact():
    run("1000_nodes_byzantine_latency_impact")


def test_1000_nodes_byzantine_false_positives():
    run("1000_nodes_byzantine_false_positives")


def test_1000_nodes_byzantine_reputation():
    run("1000_nodes_byzantine_reputation")


def test_1000_nodes_byzantine_removal_recovery():
    run("1000_nodes_byzantine_removal_recovery")
