"""Speed and memory of vecsim itself, and modelled figures, against their baselines."""

from scenario import run


def test_vertex_creation_performance():
    run("vertex_creation_performance")


def test_graph_operations_performance():
    run("graph_operations_performance")


def test_consensus_performance_regression():
    run("consensus_performance_regression")


def test_storage_performance_regression():
    run("storage_performance_regression")


def test_hashing_performance_regression():
    run("hashing_performance_regression")


def test_memory_usage_regression():
    run("memory_usage_regression")


def test_network_bandwidth_regression():
    run("network_bandwidth_regression")


def test_cpu_usage_regression():
    run("cpu_usage_regression")


def test_scaling_characteristics_regression():
    run("scaling_characteristics_regression")


def test_no_memory_leaks():
    run("no_memory_leaks")


def test_ci_smoke_test():
    run("ci_smoke_test")


def test_performance_report_generation():
    run("performance_report_generation")
