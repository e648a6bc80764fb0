"""The 79 scenarios as they were asked for: a literal copy, which no change of their files follows.

Of each its name and category, what is set up (lines that begin with `|`) and what must be shown:
metric, statistic, operator, number, and for which part of the run. To loosen one turns this red.
"""

from vecsim.scenario import finding

ABOUT = ("level", "every_s", "times", "plus", "variant", "over", "interval", "expect")


def text(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join("" if v is None else text(v) for v in value) + "]"
    if isinstance(value, dict):
        return "(" + criterion({"op": "", **value}) + ")"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def pairs(values):
    return " ".join(f"{key}={text(value)}" for key, value in values.items())


def criterion(section):
    """metric statistic op threshold, and the rest by name."""
    parts = [section["metric"], section.get("statistic", ""), section["op"]]
    parts.append(text(section["threshold"]) if "threshold" in section else "")
    parts += ["in " + text(section["period"])] if "period" in section else []
    parts += [f"{name} {text(section[name])}" for name in ABOUT if name in section]
    assert set(section) <= {"metric", "statistic", "op", "threshold", "period", *ABOUT}
    return " ".join(part for part in parts if part)


def described(name):
    """The lines of a scenario."""
    given = finding.compose_scenario(name)
    flat = {key: given[key] for key in ("duration_s", "expect") if key in given}
    flat |= given.get("cluster", {}) | given.get("workload", {})
    lines = [f"{name}: {given['category']}", *([f"| {pairs(flat)}"] if flat else [])]
    lines += [f"| {pairs(entry)}" for entry in given.get("timeline", ())]
    for variant, changes in given.get("variants", {}).items():
        changed = {key: pairs(v) if isinstance(v, dict) else v for key, v in changes.items()}
        lines.append(f"| {variant}: {pairs(changed)}")
    lines += [f"| {probe}" for probe in given.get("probes", ())]
    return lines + [criterion(section) for section in given["criteria"]]


def test_every_scenario_is_the_one_that_was_asked_for():
    blocks = [block.splitlines() for block in ROWS.strip().split("\n\n")]
    expected = {block[0].partition(":")[0]: block for block in blocks}
    assert len(expected) == len(blocks) == 79
    found = {name: described(name) for name in finding.names()}
    for name, lines in expected.items():
        joined = "\n".join(lines).replace("\n|   ", " ")  # a long set-up goes on in the next line
        assert "\n".join(found[name]) == joined
    assert set(found) == set(expected)


ROWS = """
harness_byzantine_injection: infrastructure
| nodes=100 byzantine_fraction=0.2 adversary=random_voting
| byzantine_answers
byzantine_nodes == 20
byzantine_answer rate covers 0.5 interval 0.999999

harness_consensus_validation: infrastructure
| duration_s=30 nodes=50 kind=constant rate_tps=100
| plain: cluster.double_spend_share=0
| double_spends: cluster.double_spend_share=0.1
in_flight last == 0
total_vertices > 0
given_up == 0
rejected > 0 variant double_spends

harness_creates_cluster: infrastructure
| nodes=10
| cluster_lifecycle
running_before_start == 0
running_started == 10

harness_handles_node_failures: infrastructure
| duration_s=60 nodes=10 kind=constant rate_tps=100
| at_s=10 do=kill_random_nodes count=3 restart=false
running max == 10
running last == 7
healthy min == 1 in [30, 60]

harness_lifecycle_management: infrastructure
| nodes=5 kind=constant rate_tps=100
| cluster_lifecycle
running_started == 5
running_stopped == 0
running_restarted == 5
finalised_before_stop > 0
finalised_missing_after_restart == 0

harness_metrics_collection: infrastructure
| duration_s=5 nodes=10 kind=constant rate_tps=100
avg_tps == 100
peak_tps >= 98
peak_tps <= 100
total_vertices == 500
latency_ms p50 > 42.1
latency_ms p50 <= 43
latency_ms p95 > 42.1
latency_ms p95 <= 43
latency_ms p99 > 42.1
latency_ms p99 <= 43
rounds_to_finalise mean == 22
confidence mean >= 0.9507
confidence mean <= 0.9508
byzantine_detected == 0
false_positives == 0
cpu_percent mean >= 10.99
cpu_percent mean <= 11.01
peak_cpu_percent max >= 10.99
peak_cpu_percent max <= 11.01
memory_mb mean >= 128.37
memory_mb mean <= 128.38
peak_memory_mb max >= 128.62
peak_memory_mb max <= 128.63
network_mbps mean >= 5.119
network_mbps mean <= 5.121

harness_network_partition: infrastructure
| duration_s=70 nodes=100 kind=constant rate_tps=100
| at_s=10 do=create_partition shares=[0.5, 0.5]
| at_s=40 do=heal_partition
| messages_across_cut
partitions min == 2 in [11, 40]
partitions max == 0 in [41, ]
parts_while_cut == 2
parts_after_healing == 0
answered_while_cut rate covers 0.494949 interval 0.999999
answered_after_healing rate == 1

harness_network_simulation: infrastructure
| nodes=10 profile=wan
| local: cluster.profile=local
| lan: cluster.profile=lan
| wan: cluster.profile=wan
| degraded: cluster.profile=degraded
| network_round_trips
round_trip_within_profile rate == 1
round_trip_ks_p_value >= 0.001
round_trip_ms covers 0.55 variant local interval 0.999999
round_trip_lost rate covers 0 variant local interval 0.999999
round_trip_ms covers 5.5 variant lan interval 0.999999
round_trip_lost rate covers 0.00019999 variant lan interval 0.999999
round_trip_ms covers 125 variant wan interval 0.999999
round_trip_lost rate covers 0.001999 variant wan interval 0.999999
round_trip_ms covers 350 variant degraded interval 0.999999
round_trip_lost rate covers 0.0199 variant degraded interval 0.999999

harness_resource_monitoring: infrastructure
| duration_s=10 nodes=10 kind=constant rate_tps=100
cpu_percent min >= 10.99
cpu_percent max <= 11.01
peak_cpu_percent max <= 11.01
utilisation_cpu max <= 1
memory_mb min > 128
memory_mb max >= 129.25
memory_mb max <= 129.26
network_mbps min >= 5.119
network_mbps max <= 5.121

harness_result_export: infrastructure
| duration_s=10 nodes=10 kind=constant rate_tps=100
| result_export
export_valid == 1
export_unchanged == 1
export_sections == 6

harness_workload_execution: infrastructure
| duration_s=30 nodes=50 kind=constant rate_tps=100
| constant: workload=kind=constant rate_tps=100
| ramp: workload=kind=ramp start_tps=50 end_tps=150 ramp_s=30
| burst: workload=kind=burst rate_tps=50 burst_tps=150 at_s=10 burst_s=10
| chaos: workload=kind=chaos low_tps=50 high_tps=150
avg_tps >= 90 variant constant
avg_tps <= 110 variant constant
avg_load_tps >= 99 variant ramp
avg_load_tps <= 101 variant ramp
avg_load_tps >= 99 variant burst
avg_load_tps <= 101 variant burst
avg_load_tps >= 50 variant chaos
avg_load_tps <= 150 variant chaos
avg_tps >= (avg_load_tps plus -10) variant ramp
avg_tps <= (avg_load_tps plus 10) variant ramp
avg_tps >= (avg_load_tps plus -10) variant burst
avg_tps <= (avg_load_tps plus 10) variant burst
avg_tps >= (avg_load_tps plus -10) variant chaos
avg_tps <= (avg_load_tps plus 10) variant chaos

10000_nodes_throughput: load
| duration_s=900 nodes=10000 memory_limit_mb=768 kind=constant rate_tps=1000
avg_tps >= 1000
latency_ms p95 <= 500
memory_mb max <= 768
cpu_percent <= 70
network_mbps <= 30

1000_nodes_baseline_throughput: load
| duration_s=3600 nodes=1000 kind=constant rate_tps=100
avg_tps >= 100
latency_ms p95 <= 100
consensus_failures == 0
memory_mb max <= 512

1000_nodes_burst_workload: load
| duration_s=300 nodes=1000 kind=burst rate_tps=100 burst_tps=500 at_s=120 burst_s=10
peak_tps >= 500
waiting last == 0
in_flight last == 0
given_up == 0
dropped == 0
healthy last == 1

1000_nodes_consensus_rounds: load
| duration_s=300 nodes=1000 kind=constant rate_tps=150
rounds < 30
confidence >= 0.95

1000_nodes_lan_network: load
| duration_s=300 nodes=1000 profile=lan kind=constant rate_tps=150
avg_tps >= 150
latency_ms p95 <= 150

1000_nodes_peak_throughput: load
| duration_s=1800 nodes=1000 kind=ramp start_tps=10 end_tps=1000 ramp_s=1800
peak_tps >= 200
latency_curve_points >= 20
bottleneck reported
headroom_cpu reported
headroom_network reported
headroom_disk reported
headroom_memory reported

1000_nodes_resource_efficiency: load
| duration_s=600 nodes=1000 kind=constant rate_tps=200
avg_tps >= 200
latency_ms p95 <= 100
memory_mb max <= 512
cpu_percent <= 50
network_mbps <= 10

1000_nodes_wan_network: load
| duration_s=600 nodes=1000 profile=wan kind=constant rate_tps=100
avg_tps >= 100
latency_ms p95 <= 300

100_nodes_throughput: load
| duration_s=900 nodes=100 kind=constant rate_tps=100
avg_tps >= 100
latency_ms p95 <= 50

5000_nodes_throughput: load
| duration_s=900 nodes=5000 kind=constant rate_tps=500
avg_tps >= 500
latency_ms p95 <= 200
memory_mb max <= 512
cpu_percent <= 60
network_mbps <= 20

500_nodes_throughput: load
| duration_s=900 nodes=500 kind=constant rate_tps=100
avg_tps >= 100
latency_ms p95 <= 75

10000_nodes_bandwidth_saturation: stress
| duration_s=3600 nodes=10000 link_mbps=100 payload_bytes=12000 memory_limit_mb=768 kind=burst
|   rate_tps=100 burst_tps=1000 at_s=600 burst_s=60
bottleneck == network_bandwidth
network_mbps max <= 100
waiting last == 0
in_flight last == 0
crashes == 0
healthy last == 1

1000_nodes_byzantine_throughput_impact: stress
| duration_s=600 nodes=1000 adversary=random_voting kind=constant rate_tps=150
| off_0: cluster.byzantine_fraction=0 cluster.benching=false cluster.reputation=false
|   cluster.guard=false
| off_10: cluster.byzantine_fraction=0.1 cluster.benching=false cluster.reputation=false
|   cluster.guard=false
| off_20: cluster.byzantine_fraction=0.2 cluster.benching=false cluster.reputation=false
|   cluster.guard=false
| off_30: cluster.byzantine_fraction=0.3 cluster.benching=false cluster.reputation=false
|   cluster.guard=false
| on_0: cluster.byzantine_fraction=0
| on_10: cluster.byzantine_fraction=0.1
| on_20: cluster.byzantine_fraction=0.2
| on_30: cluster.byzantine_fraction=0.3
avg_tps not_rising over [off_0, off_10, off_20, off_30]
avg_tps >= 130 variant on_0
avg_tps >= 130 variant on_10
avg_tps >= 130 variant on_20
avg_tps >= 130 variant on_30

1000_nodes_cold_restart: stress
| duration_s=660 nodes=1000 kind=constant rate_tps=100
| at_s=300 do=stop
| at_s=360 do=start
running max == 0 in [301, 360]
finalised sum > 0 in [0, 300]
finalised sum == 0 in [301, 360]
finalised sum > 0 in [360, ]
lost == 0
healthy min == 1 in [420, 660]

1000_nodes_concurrent_submission: stress
| duration_s=10 nodes=1000 kind=at_once count=1000
issued == 1000
total_vertices == 1000
lost == 0
doubled == 0
dropped == 0
given_up == 0

1000_nodes_cpu_saturation: stress
| duration_s=7500 nodes=1000 kind=ramp start_tps=100 end_tps=5000 ramp_s=7200 then_tps=100
cpu_saturation_tps > 100
cpu_saturation_tps < 5000
crashes == 0
healthy min == 1 in [7260, 7500]

1000_nodes_deep_dag: stress
| duration_s=600 nodes=1000 parents=linear kind=constant rate_tps=50
depth max == (total_vertices)
total_vertices == 30000
crashes == 0
deadlocks == 0
in_flight last == 0

1000_nodes_large_payload_stress: stress
| duration_s=300 nodes=1000 payload_bytes=100000 kind=constant rate_tps=50
avg_tps >= 50
crashes == 0
deadlocks == 0

1000_nodes_memory_exhaustion: stress
| duration_s=14400 nodes=1000 pruning=false kind=constant rate_tps=700
vertices_at_first_kill reported
vertices_at_half_killed reported
vertices_at_last_kill reported
oom_kills >= 1000
running last == 1000
corruption == 0

1000_nodes_parameter_stress: stress
| duration_s=600 nodes=1000 kind=constant rate_tps=100
| at_s=60 do=set_protocol k=20 alpha=15 beta=10
| at_s=120 do=set_protocol k=60 alpha=54 beta=30
| at_s=180 do=set_protocol k=30 alpha=24 beta=20
| at_s=240 do=set_protocol k=40 alpha=34 beta=15
| at_s=300 do=set_protocol k=50 alpha=40 beta=25
| at_s=360 do=set_protocol k=25 alpha=23 beta=12
| at_s=420 do=set_protocol k=55 alpha=42 beta=28
| at_s=480 do=set_protocol k=35 alpha=30 beta=18
| at_s=540 do=set_protocol k=30 alpha=24 beta=20
divergent == 0
avg_tps >= 90
crashes == 0
deadlocks == 0
in_flight last == 0

1000_nodes_rapid_churn: stress
| duration_s=1800 nodes=1000 kind=constant rate_tps=100
| at_s=30 every_s=30 times=59 do=kill_random_nodes count=50 restart=false
| at_s=30 every_s=30 times=59 do=spawn_nodes count=50
avg_tps >= 80
crashes == 0
deadlocks == 0

1000_nodes_storage_saturation: stress
| duration_s=3600 nodes=1000 kind=ramp start_tps=100 end_tps=2000 ramp_s=3600
read_iops max reported
write_iops max reported
compaction_mb last <= 1
utilisation_disk max < 1
corruption == 0

1000_nodes_24hour_stability: soak
| duration_s=86400 nodes=1000 byzantine_fraction=0.1 adversary=random_voting profile=lan
|   kind=constant rate_tps=150
crashes == 0
memory_mb growth_percent < 5 in [3600, 86400]
avg_tps >= (peak_tps times 0.9)
anomalies == 0
uptime_percent >= 99.9

1000_nodes_byzantine_detection_accuracy: soak
| duration_s=86400 nodes=1000 byzantine_fraction=0.2 adversary=random_voting kind=constant
|   rate_tps=150
byzantine_detected >= 190
false_positives <= 20

1000_nodes_consensus_stability: soak
| duration_s=86400 nodes=1000 byzantine_fraction=0.1 adversary=random_voting kind=constant
|   rate_tps=150
rounds variance < 10 every_s 3600
confidence min >= 0.95 every_s 3600

1000_nodes_memory_leak_detection: soak
| duration_s=43200 nodes=1000 kind=constant rate_tps=100
| own_memory_while_stepping
memory_mb growth_percent < 5 in [3600, 43200]
memory_mb last reported every_s 3600
own_memory_growth_percent < 5

1000_nodes_network_resilience: soak
| duration_s=43200 nodes=1000 profile=wan kind=constant rate_tps=100
| at_s=10800 every_s=10800 times=3 do=set_packet_loss loss=0.005
| at_s=11100 every_s=10800 times=3 do=set_packet_loss loss=0.001
avg_tps >= 90
crashes == 0
deadlocks == 0

1000_nodes_prolonged_partition_recovery: soak
| duration_s=14400 nodes=1000 kind=constant rate_tps=100
| at_s=3600 do=create_partition shares=[0.5, 0.5]
| at_s=7200 do=heal_partition
in_flight last == 0
waiting last == 0
divergent == 0
partitions min == 2 in [3601, 7200]
healthy min == 1 in [7260, 14400]
crashes == 0
deadlocks == 0

1000_nodes_realistic_workload: soak
| duration_s=86400 nodes=1000 profile=lan kind=chaos low_tps=50 high_tps=300
avg_tps >= 100
peak_tps >= 250
crashes == 0
deadlocks == 0
given_up == 0

1000_nodes_storage_degradation: soak
| duration_s=86400 nodes=1000 kind=constant rate_tps=150
read_latency_ms last < (read_latency_ms first every_s 7200 times 1.5) every_s 7200
write_latency_ms last < (write_latency_ms first every_s 7200 times 1.5) every_s 7200

5000_nodes_7day_endurance: soak
| duration_s=604800 nodes=5000 byzantine_fraction=0.2 adversary=coordinated_collusion profile=wan
|   kind=sine low_tps=50 high_tps=200 period_s=86400
uptime_percent > 99.9
compaction_mb last <= 1
deadlocks == 0
byzantine_detected > 0
byzantine_detected <= 1000

5000_nodes_sustained_load: soak
| duration_s=86400 nodes=5000 kind=constant rate_tps=500
avg_tps >= 500
latency_ms p95 <= 200
crashes == 0

1000_nodes_asymmetric_partition: chaos
| duration_s=1800 nodes=1000 kind=constant rate_tps=100
| at_s=600 do=create_partition shares=[0.8, 0.2]
| at_s=1200 do=heal_partition
progressing min == 800 in [610, 1200]
progressing max == 800 in [610, 1200]
tps min > 0 in [620, 1200]
healthy min == 1 in [1260, 1800]
divergent == 0
in_flight last == 0

1000_nodes_cascading_failures: chaos
| duration_s=600 nodes=1000 kind=constant rate_tps=150
| at_s=60 do=kill_random_nodes count=5 restart=false
| at_s=120 do=kill_random_nodes count=10 restart=false
| at_s=180 do=kill_random_nodes count=20 restart=false
| at_s=240 do=kill_random_nodes count=40 restart=false
| at_s=300 do=kill_random_nodes count=80 restart=false
| at_s=360 do=kill_random_nodes count=160 restart=false
| at_s=420 do=kill_random_nodes count=20 restart=false
running last == 685 in [361, 420]
healthy min == 1 in [380, 420]
running last == 665
guard max == 0 in [440, ]
finalised sum == 0 in [440, ]
corruption == 0

1000_nodes_clock_skew: chaos
| duration_s=600 nodes=1000 kind=constant rate_tps=100
| at_s=60 do=set_clock_skew count=100 max_s=5
skewed min == 100 in [61, 600]
refused_clocks max == 0
rejected == 0
false_positives == 0
healthy min == 1 in [70, 600]
corruption == 0

1000_nodes_cpu_throttling: chaos
| duration_s=900 nodes=1000 kind=constant rate_tps=150
| at_s=60 do=throttle_cpu count=100 capacity=0.25
avg_tps >= 100 in [360, ]
crashes == 0

1000_nodes_disk_failures: chaos
| duration_s=3600 nodes=1000 kind=constant rate_tps=100
| at_s=60 every_s=60 times=50 do=inject_disk_failure count=1
running min < 1000
running longest_below_s <= 300 level 1000
running last == 1000
in_flight last == 0
divergent == 0

1000_nodes_latency_spikes: chaos
| duration_s=1920 nodes=1000 profile=lan kind=constant rate_tps=100
| at_s=120 every_s=120 times=15 do=inject_latency_spike extra_ms=500 duration_s=30
avg_tps >= 80
crashes == 0
deadlocks == 0

1000_nodes_memory_pressure: chaos
| duration_s=2400 nodes=1000 kind=constant rate_tps=100
| at_s=1500 do=inject_memory_pressure count=50 share=0.9
utilisation_memory max >= 0.85 in [1500, ]
utilisation_memory max < 0.9 in [1500, ]
oom_kills == 0
healthy min == 1 in [1560, 2400]

1000_nodes_multiple_partitions: chaos
| duration_s=1800 nodes=1000 kind=constant rate_tps=100
| at_s=600 do=create_partition shares=[0.4, 0.4, 0.2]
| at_s=900 do=heal_partition
partitions min == 3 in [601, 900]
guard max == 0 in [610, 900]
progressing max == 0 in [610, 900]
finalised sum == 0 in [610, 900]
finalised sum > 0 in [900, ]
healthy min == 1 in [960, 1800]
in_flight last == 0

1000_nodes_network_partition: chaos
| duration_s=3600 nodes=1000 kind=constant rate_tps=100
| at_s=900 do=create_partition shares=[0.5, 0.5]
| at_s=1500 do=heal_partition
partitions min == 2 in [901, 1500]
guard max == 0 in [910, 1500]
progressing max == 0 in [910, 1500]
finalised sum == 0 in [910, 1500]
partitions max == 0 in [1501, ]
healthy min == 1 in [1560, 3600]
divergent == 0
in_flight last == 0

1000_nodes_packet_loss: chaos
| duration_s=1080 nodes=1000 kind=constant rate_tps=100
| at_s=0 do=set_packet_loss loss=0.001
| at_s=180 do=set_packet_loss loss=0.005
| at_s=360 do=set_packet_loss loss=0.01
| at_s=540 do=set_packet_loss loss=0.02
| at_s=720 do=set_packet_loss loss=0.05
| at_s=900 do=set_packet_loss loss=0
latency_ms p95 > 200 in [720, 900]
healthy min == 1 in [960, 1080]
corruption == 0

1000_nodes_random_failures: chaos
| duration_s=7200 nodes=1000 profile=lan kind=constant rate_tps=100
| at_s=300 every_s=300 times=23 do=kill_random_nodes count=10
uptime_percent >= 99.9
deadlocks == 0
running min == 990
running longest_below_s <= 30 level 1000
tps longest_below_s <= 30 level 90
running last == 1000
corruption == 0

1000_nodes_10percent_byzantine_random: byzantine
| duration_s=3600 nodes=1000 byzantine_fraction=0.1 adversary=random_voting kind=constant
|   rate_tps=150
avg_tps >= 140
byzantine_detected >= 80
byzantine_detected <= 100
crashes == 0
deadlocks == 0

1000_nodes_20percent_always_accept: byzantine
| duration_s=1800 nodes=1000 byzantine_fraction=0.2 adversary=always_accept double_spend_share=0.1
|   kind=constant rate_tps=150
rounds_undisputed <= 25
crashes == 0
deadlocks == 0

1000_nodes_20percent_always_reject: byzantine
| duration_s=1800 nodes=1000 byzantine_fraction=0.2 adversary=always_reject kind=constant
|   rate_tps=150
rounds > 20
confidence >= 0.95
crashes == 0
deadlocks == 0

1000_nodes_20percent_byzantine_random: byzantine
| duration_s=3600 nodes=1000 byzantine_fraction=0.2 adversary=random_voting kind=constant
|   rate_tps=150
avg_tps >= 130
byzantine_detected >= 150
byzantine_detected <= 200
crashes == 0
deadlocks == 0

1000_nodes_20percent_coordinated_collusion: byzantine
| duration_s=3600 nodes=1000 byzantine_fraction=0.2 adversary=coordinated_collusion
|   double_spend_share=0.1 kind=constant rate_tps=150
latency_ms_undisputed p95 <= 150
byzantine_detected >= 150
crashes == 0
deadlocks == 0

1000_nodes_30percent_byzantine_random: byzantine
| duration_s=3600 nodes=1000 byzantine_fraction=0.3 adversary=random_voting kind=constant
|   rate_tps=150
avg_tps >= 100
latency_ms p95 <= 200
crashes == 0
deadlocks == 0

1000_nodes_33percent_byzantine_should_fail: byzantine
| duration_s=600 expect=not_passed nodes=1000 byzantine_fraction=0.33 adversary=random_voting
|   kind=constant rate_tps=150
avg_tps >= 100 expect fails
healthy last == 1 expect fails
guard last == 0
finalised sum == 0 in [300, ]
divergent == 0

1000_nodes_byzantine_false_positives: byzantine
| duration_s=3600 nodes=1000 byzantine_fraction=0.2 adversary=random_voting kind=constant
|   rate_tps=150
false_positive_percent < 5
accuracy_percent >= 95

1000_nodes_byzantine_latency_impact: byzantine
| duration_s=600 nodes=1000 adversary=random_voting kind=constant rate_tps=150
| off_0: cluster.byzantine_fraction=0 cluster.benching=false cluster.reputation=false
|   cluster.guard=false
| off_10: cluster.byzantine_fraction=0.1 cluster.benching=false cluster.reputation=false
|   cluster.guard=false
| off_20: cluster.byzantine_fraction=0.2 cluster.benching=false cluster.reputation=false
|   cluster.guard=false
| off_30: cluster.byzantine_fraction=0.3 cluster.benching=false cluster.reputation=false
|   cluster.guard=false
| on_0: cluster.byzantine_fraction=0
| on_10: cluster.byzantine_fraction=0.1
| on_20: cluster.byzantine_fraction=0.2
| on_30: cluster.byzantine_fraction=0.3
rounds not_falling over [off_0, off_10, off_20, off_30]
rounds reported variant on_0
rounds reported variant on_10
rounds reported variant on_20
rounds reported variant on_30

1000_nodes_byzantine_removal_recovery: byzantine
| duration_s=1200 nodes=1000 byzantine_fraction=0.3 adversary=always_reject benching=false
|   reputation=false guard=false kind=constant rate_tps=150
| at_s=600 do=remove_byzantine_nodes
avg_tps > (avg_tps in [0, 600] times 1.2) in [600, ]
avg_tps >= 140 in [600, ]

1000_nodes_byzantine_reputation: byzantine
| duration_s=7200 nodes=1000 byzantine_fraction=0.2 adversary=random_voting kind=constant
|   rate_tps=150
reputation_byzantine last < (reputation_honest last times 0.5)

1000_nodes_no_byzantine: byzantine
| duration_s=600 nodes=1000 kind=constant rate_tps=150
avg_tps >= 150
latency_ms p95 <= 100
byzantine_detected == 0
false_positives == 0
crashes == 0

1000_nodes_sybil_attack: byzantine
| duration_s=1800 nodes=1000 byzantine_fraction=0.2 adversary=sybil kind=constant rate_tps=150
byzantine_detected >= 150
crashes == 0
deadlocks == 0

ci_smoke_test: regression
| duration_s=60 nodes=50 kind=constant rate_tps=50
avg_tps >= 45
latency_ms p95 <= 100
crashes == 0
deadlocks == 0
wall_s < 120

consensus_performance_regression: regression
| speed_of_consensus
consensus_vertex_ns <= 17770000

cpu_usage_regression: regression
| duration_s=600 nodes=100 kind=constant rate_tps=100
cpu_percent <= 33

graph_operations_performance: regression
| speed_of_graph_operations
add_100_ns <= 54000
add_1000_ns <= 612000
look_up_ns <= 128
topological_sort_100_ns <= 35000
topological_sort_100_shuffled_ns reported

hashing_performance_regression: regression
| speed_of_hashing
blake3_100b_ns <= 202
blake3_1kb_ns <= 1420
blake3_10kb_ns <= 10660
blake3_call_ns reported

memory_usage_regression: regression
| duration_s=1800 nodes=100 kind=constant rate_tps=100
memory_mb max <= 281.6

network_bandwidth_regression: regression
| duration_s=600 nodes=100 kind=constant rate_tps=100
network_mbps <= 16.72

no_memory_leaks: regression
| duration_s=3600 nodes=1000 kind=constant rate_tps=100
| own_memory_over_runs
own_memory_growth_percent < 5

performance_report_generation: regression
| duration_s=60 nodes=100 kind=constant rate_tps=100
| performance_report
report_figures >= 4
report_figures_judged == (report_figures)

scaling_characteristics_regression: regression
| duration_s=300 poll_interval_ms=4 kind=constant rate_tps=100
| nodes_100: cluster.nodes=100
| nodes_250: cluster.nodes=250
| nodes_500: cluster.nodes=500
| nodes_1000: cluster.nodes=1000
avg_tps >= 95
latency_ms p95 < (latency_ms p95 times 2 variant nodes_100) variant nodes_1000
memory_mb <= (memory_mb times 1.05 variant nodes_100) variant nodes_1000
network_mbps <= (network_mbps times 1.05 variant nodes_100) variant nodes_1000

storage_performance_regression: regression
| speed_of_result_store
put_ns <= 10000
cached_get_ns <= 500
cold_get_ns <= 50000

vertex_creation_performance: regression
| speed_of_vertex_creation
genesis_vertex_ns <= 176
vertex_with_parents_ns <= 1900
vertex_10kb_payload_ns <= 12500
genesis_id_ns reported
"""
