"""What throughput a cluster carries, and at which latency."""

from scenario import run


def test_1000_nodes_baseline_throughput():
    run("1000_nodes_baseline_throughput")


def test_1000_nodes_peak_throughput():
    run("1000_nodes_peak_throughput")


def test_100_nodes_throughput():
    run("100_nodes_throughput")


def test_500_nodes_throughput():
    run("500_nodes_throughput")


def test_5000_nodes_throughput():
    run("5000_nodes_throughput")


def test_10000_nodes_throughput():
    run("10000_nodes_throughput")


def test_1000_nodes_lan_network():
    run("1000_nodes_lan_network")


def test_1000_nodes_wan_network():
    run("1000_nodes_wan_network")


def test_1000_nodes_burst_workload():
    run("1000_nodes_burst_workload")


def test_1000_nodes_resource_efficiency():
    run("1000_nodes_resource_efficiency")


def test_1000_nodes_consensus_rounds():
    run("1000_nodes_consensus_rounds")
