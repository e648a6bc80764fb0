"""The cluster itself: its life, network, faults, measurements and results."""

from scenario import run


def test_harness_creates_cluster():
    run("harness_creates_cluster")


def test_harness_lifecycle_management():
    run("harness_lifecycle_management")


def test_harness_metrics_collection():
    run("harness_metrics_collection")


def test_harness_network_simulation():
    run("harness_network_simulation")


def test_harness_byzantine_injection():
    run("harness_byzantine_injection")


def test_harness_handles_node_failures():
    run("harness_handles_node_failures")


def test_harness_network_partition():
    run("harness_network_partition")


def test_harness_resource_monitoring():
    run("harness_resource_monitoring")


def test_harness_workload_execution():
    run("harness_workload_execution")


def test_harness_consensus_validation():
    run("harness_consensus_validation")


def test_harness_result_export():
    run("harness_result_export")
