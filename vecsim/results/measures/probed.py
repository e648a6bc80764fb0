"""The metrics of probes: by probe, the names of what it gives (see `vecsim.scenario.probes`)."""

# Those in _ns are nanoseconds, in _ms milliseconds, in _percent per cent.
PROBED: dict[str, tuple[str, ...]] = {
    "cluster_lifecycle": (
        *("running_before_start", "running_started", "running_stopped", "running_restarted"),
        *("finalised_before_stop", "finalised_missing_after_restart"),
    ),
    "network_round_trips": (
        *("round_trip_ms", "round_trip_within_profile"),
        *("round_trip_ks_p_value", "round_trip_lost"),
    ),
    "byzantine_answers": ("byzantine_nodes", "byzantine_answer"),
    "messages_across_cut": (
        *("parts_while_cut", "parts_after_healing"),
        *("answered_while_cut", "answered_after_healing"),
    ),
    "result_export": ("export_valid", "export_unchanged", "export_sections"),
    "performance_report": ("report_figures", "report_figures_judged"),
    "own_memory_while_stepping": ("own_memory_growth_percent",),
    "own_memory_over_runs": ("own_memory_growth_percent",),
    "speed_of_vertex_creation": (
        *("genesis_vertex_ns", "genesis_id_ns"),
        *("vertex_with_parents_ns", "vertex_10kb_payload_ns"),
    ),
    "speed_of_graph_operations": (
        *("add_100_ns", "add_1000_ns", "look_up_ns"),
        *("topological_sort_100_ns", "topological_sort_100_shuffled_ns"),
    ),
    "speed_of_hashing": ("blake3_100b_ns", "blake3_1kb_ns", "blake3_10kb_ns", "blake3_call_ns"),
    "speed_of_result_store": ("put_ns", "cached_get_ns", "cold_get_ns"),
    "speed_of_consensus": ("consensus_vertex_ns",),
}
# All of these, whichever probe gives them.
METRICS = frozenset(name for names in PROBED.values() for name in names)
