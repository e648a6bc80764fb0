"""The variables that each window of a simulated cluster records: meaning and unit, by kind."""

HEALTHY_SHARE = 0.9  # of what is offered over 10 s, finalised in them by a healthy cluster

# Counted in the window; summed over windows.
COUNTS = {
    "issued": ("vertices issued by clients in the window", "vertices"),
    "admitted": ("vertices whose first polls began in the window", "vertices"),
    "finalised": ("vertices finalised in the window", "vertices"),
    "rejected": ("vertices rejected in favour of a rival in the window", "vertices"),
    "given_up": ("vertices given up for good in the window", "vertices"),
    "dropped": ("vertices that found the admission queue full in the window", "vertices"),
    "timed_out": ("attempts that ended without a decision, booked in the window", "attempts"),
    "oom_kills": ("nodes killed for memory in the window", "nodes"),
}
# Counted since the beginning; the last window has the whole.
SO_FAR = {
    "excluded_byzantine": ("Byzantine nodes excluded so far", "nodes"),
    "excluded_honest": ("honest nodes excluded so far", "nodes"),
    "refused": ("identities refused at admission", "nodes"),
    "divergent": ("vertices on which honest nodes decided differently, so far", "vertices"),
    "lost": ("vertices without a trace at the end of the window; must be 0", "vertices"),
    "doubled": ("vertices that ended twice by the end of the window; must be 0", "vertices"),
    "depth": ("longest chain of the DAG at the end of the window", "vertices"),
}
# How things stand at the end of the window.
STANDING = {
    "waiting": ("vertices that wait for admission at the end of the window", "vertices"),
    "in_flight": ("vertices without an end at the end of the window, waiting included", "vertices"),
    "running": ("members that run at the end of the window", "nodes"),
    "guard": ("whether the quorum guard holds on some side: 1 or 0", ""),
    "sides": ("sides of the network: 1 while it is whole", "sides"),
    "progressing": ("honest nodes on sides whose guard holds", "nodes"),
    "skewed": ("members whose clock is off", "nodes"),
    "refused_clocks": ("honest members whose clock is too far off for their peers", "nodes"),
    "benched": ("share of the members that a node leaves out of its samples", ""),
}
# Part of three long names.
_DEMANDED = "demanded by the offered load, share of"
# What a node uses while load is offered, by the model of its resources.
MODELLED = {
    "cpu_percent": ("CPU of a node, mean over running nodes, modelled", "%"),
    "peak_cpu_percent": ("CPU of the busiest node, modelled", "%"),
    "memory_mb": ("memory of a node, mean over running nodes, modelled", "MB"),
    "peak_memory_mb": ("memory of the node that uses most, modelled", "MB"),
    "network_mbps": ("transport payload that a node sends, modelled", "Mbit/s"),
    "header_mbps": ("IP and UDP headers that a node sends, modelled", "Mbit/s"),
    "read_iops": ("disk reads of a node, modelled", "1/s"),
    "write_iops": ("disk writes of a node, modelled", "1/s"),
    "read_latency_ms": ("time of a disk read, modelled up to 99 % use, 50 ms", "ms"),
    "write_latency_ms": ("time of a disk write, modelled up to 99 % use, 50 ms", "ms"),
    "utilisation_cpu": (f"CPU {_DEMANDED} a core, modelled", ""),
    "utilisation_network": (f"traffic {_DEMANDED} the link, modelled", ""),
    "utilisation_disk": (f"disk {_DEMANDED} its bandwidth or operations, modelled", ""),
    "utilisation_memory": ("largest share of a node's memory limit in use, modelled", ""),
    "compaction_mb": ("bytes that wait for compaction on a node, modelled", "MB"),
    "storage_mb": ("stored on a node's disk, modelled", "MB"),
    "reputation_byzantine": ("mean reputation of Byzantine members, 0 to 1", ""),
    "reputation_honest": ("mean reputation of honest members, 0 to 1", ""),
}
# Of each sampled vertex [samples].
SAMPLED = {
    "latency_ms": ("from issue to finalisation at the issuer; missing unless finalised", "ms"),
    "rounds": ("polls of the attempt", "polls"),
    "confidence": ("confidence at finalisation; missing unless finalised", ""),
}
# What a sampled vertex is, and for how many it stands [samples].
OF_SAMPLES = {
    "disputed": ("whether the sampled vertex has a rival: 1 or 0", ""),
    "weight": ("vertices for which the sampled one stands", "vertices"),
    "outcome": ("0 timed out, 1 finalised, 2 rejected, -1 no vertex", ""),
}
# All of them, by name: (long name, unit). Over trial and window; the last six have samples too.
VARIABLES = COUNTS | SO_FAR | STANDING | MODELLED | SAMPLED | OF_SAMPLES
