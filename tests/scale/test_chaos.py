"""Clusters under faults."""

from scenario import run


def test_1000_nodes_random_failures():
    run("1000_nodes_random_failures")


def test_1000_nodes_network_partition():
    run("1000_nodes_network_partition")


def test_1000_nodes_asymmetric_partition():
    run("1000_nodes_asymmetric_partition")


def test_1000_nodes_multiple_partitions():
    run("1000_nodes_multiple_partitions")


def test_1000_nodes_cascading_failures():
    run("1000_nodes_cascading_failures")


def test_1000_nodes_disk_failures():
    run("1000_nodes_disk_failures")


def test_1000_nodes_latency_spikes():
    run("1000_nodes_latency_spikes")


def test_1000_nodes_packet_loss():
    run("1000_nodes_packet_loss")


def test_1000_nodes_cpu_throttling():
    run("1000_nodes_cpu_throttling")


def test_1000_nodes_memory_pressure():
    run("1000_nodes_memory_pressure")


def test_1000_nodes_clock_skew():
    run("1000_nodes_clock_skew")
