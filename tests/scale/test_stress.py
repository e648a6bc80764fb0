"""Clusters at the limits of their resources."""

from scenario import run


def test_1000_nodes_cpu_saturation():
    run("1000_nodes_cpu_saturation")


def test_1000_nodes_memory_exhaustion():
    run("1000_nodes_memory_exhaustion")


def test_10000_nodes_bandwidth_saturation():
    run("10000_nodes_bandwidth_saturation")


def test_1000_nodes_large_payload_stress():
    run("1000_nodes_large_payload_stress")


def test_1000_nodes_parameter_stress():
    run("1000_nodes_parameter_stress")


def test_1000_nodes_concurrent_submission():
    run("1000_nodes_concurrent_submission")


def test_1000_nodes_rapid_churn():
    run("1000_nodes_rapid_churn")


def test_1000_nodes_storage_saturation():
    run("1000_nodes_storage_saturation")


def test_1000_nodes_deep_dag():
    run("1000_nodes_deep_dag")


def test_1000_nodes_cold_restart():
    run("1000_nodes_cold_restart")


def test_1000_nodes_byzantine_throughput_impact():
    run("1000_nodes_byzantine_throughput_impact")
