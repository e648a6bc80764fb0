"""Clusters over hours and days."""

from scenario import run


def test_1000_nodes_24hour_stability():
    run("1000_nodes_24hour_stability")


def test_5000_nodes_7day_endurance():
    run("5000_nodes_7day_endurance")


def test_1000_nodes_memory_leak_detection():
    run("1000_nodes_memory_leak_detection")


def test_1000_nodes_storage_degradation():
    run("1000_nodes_storage_degradation")


def test_1000_nodes_consensus_stability():
    run("1000_nodes_consensus_stability")


def test_1000_nodes_network_resilience():
    run("1000_nodes_network_resilience")


def test_1000_nodes_byzantine_detection_accuracy():
    run("1000_nodes_byzantine_detection_accuracy")


def test_5000_nodes_sustained_load():
    run("5000_nodes_sustained_load")


def test_1000_nodes_prolonged_partition_recovery():
    run("1000_nodes_prolonged_partition_recovery")


def test_1000_nodes_realistic_workload():
    run("1000_nodes_realistic_workload")
