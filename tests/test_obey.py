"""What is set is used, or refused: never dropped without a word."""

import copy
import json
import re
from functools import lru_cache

import jax
import pytest
import yaml
from fuzz import Grammar, commands, composing, keys, options, planned, told_well
from omegaconf import OmegaConf

from vecsim import notebook, places
from vecsim import plan as planning
from vecsim.composing import refusals
from vecsim.errors import ConfigError
from vecsim.studies import sweep

# What may be set without another study, with the reason.
SAME_STUDY = {
    "packages": "whose components may be named; the component says which it is",
    "output": "where results go",
    "watch": "where it shows how far it is",
    "netcdf": "a copy of them",
    "figure": "a drawing of them",
    "theory": "lines in a drawing",
    "engine.memory_mb": "batches; results do not depend on them",
    "engine.cores": "how many do the work",
    "engine.workers": "who does the work",
    "engine.price_per_core_hour": "what is told of it at the end",
    "shard": "which part of it, for a store of its own",
    "precision.max_trials": "none by itself: the target makes it one (test_precision)",
    "precision.min_trials": "the same",
    "precision.half_width": "the same",
}


@pytest.fixture(scope="module", autouse=True)
def hydra():
    with composing():
        yield


def plan(*words):
    with refusals():
        return planning.plan(notebook.composed(words))


@lru_cache(maxsize=64)
def task(*words):
    with refusals():
        return notebook.composed(words)


def identity(words, key="", value=None):
    """What tells a study from another, and what is stored of it.

    key, value: changed in the composed configuration, which is quicker than to compose it again.
    """
    made = task(*words)
    config = copy.deepcopy(made.config)
    if key:
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning.composing, "compose", never)
        studies = list(planning.plan(made._replace(config=config)).studies.values())
    points = [point.hash() for study in studies for point in study.points]
    return sweep.study_digest(studies), points, json.dumps([study.config for study in studies])


def never(*words, whole):
    raise AssertionError("no group is swept here, and no file describes campaigns")


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("defence=on trials=5", r"trials is 5; allowed: .*\(campaign.trials\)"),
        ("defence=on protocol=slush", r"protocol is slush; .*campaign.cluster.protocol"),
        ("defence=on protocol.k=5", r"protocol.k is 5; .*campaign.cluster.protocol"),
        ("defence=on network.loss=0.2", r"network.loss is 0.2; .*campaign.cluster.profile"),
        ("defence=on schedule=async", "schedule is async; allowed: what the campaign uses"),
        ("defence=on engine.memory_mb=9", "engine.memory_mb is 9; allowed: what the campaign"),
        ("defence=on theory=true", "theory is true; allowed: what the campaign uses"),
        ("defence=on estimator=threshold", "estimator is threshold; allowed: what the campaign"),
        ("defence=on precision.target=stalled", r"precision.target is .*campaign.trials"),
        ("experiment=churn_limit adversary=flip", r"adversary is flip; .*cluster.adversary"),
        (
            "experiment=churn_limit ~sweep defence=off killed=3",
            "killed is 3; allowed: with defence=on",
        ),
        ("campaign.trials=5", "campaign.trials is 5; allowed: with defence=on"),
        ("sweep.campaign.duration_s=[5,6]", "sweep is 'campaign.*; allowed: with defence=on"),
        ("defence=[off,on] protocol=slush", "protocol is slush; allowed: .*describes both"),
        ("defence=[off,on] network.loss=0.1", "network.loss is 0.1; allowed: .*describes both"),
        ("defence=[off,on] campaign.cluster.nodes=50", "nodes is 50; allowed: .*both: n="),
        ("defence=[off,on] sweep.protocol=[slush,frosty]", "sweep.protocol is .*describes both"),
        ("defence=[off,on] protocol.beta=9", "protocol.beta is 9; .*cluster.protocol.beta"),
        ("network.degree=50", "network.degree has no effect; .*random_regular or small_world"),
        ("network=random_regular network.rewiring=0.2", "rewiring has no effect; .*small_world"),
        ("network.cut=0", "network.cut has no effect; allowed: .*network.groups"),
        ("network=groups network.start=[1,0] initial_accept=0.2", "initial_accept has no effect"),
        (
            "adversary=[flip,echo]",
            r"adversary is \[flip,echo\].*mixture.*sweep.adversary=\[flip,echo\]",
        ),
        ("sweep.experiment=[design,ecash]", "sweep.experiment is no parameter of a trial; allowed"),
        ("sweep.preset=[avalanche,flare]", "sweep.preset is no parameter of a trial; allowed: n, "),
        (
            "preset=flare defence=on",
            r"preset is flare; allowed: .*\(nothing: presets are of single",
        ),
        ("preset=flare defence=[off,on]", "preset is flare; allowed: .*describes both: n, byz"),
        ("preset=ecash experiment=churn_limit", "preset is ecash; allowed: what the campaign uses"),
        (
            "stake=zipf protocol=ecash network.loss=0.1 stake.shared_fate=false",
            "stake.shared_fate has no effect; allowed: .*a poll asks for more than one",
        ),
        (
            "stake=zipf estimator=threshold adversary=flip stake.shared_fate=false",
            "stake.shared_fate has no effect; allowed: .*where answers are coins",
        ),
        (  # the largest owner holds 8.56 %
            "stake=avalanche_owners_2026 stake.byzantine=largest byzantine_fraction=0.0427",
            "stake.byzantine has no effect, for no node is Byzantine",
        ),
        (
            "stake=[1,2,3]",
            r"stake is \[1,2,3\]; allowed: an option of the group, stake=NAME \(numbers of",
        ),
        ("protocol=[]", r"protocol is \[\]; allowed: an option of the group, protocol=NAME$"),
        ("experiment=[design,threshold]", "experiment is .*; allowed: one option; .*with -m"),
        ("experiment=byzantine_sweep trials=300 precision.max_trials=400", "max_trials is 400"),
        ("sweep={}", "sweep is {}; allowed: .*~sweep takes all away"),
        ("figure=true", "figure is True; allowed: with experiment=byzantine_sweep, "),
        ("protocol=null", "protocol is null; allowed: an option of the group, protocol=NAME$"),
        ("sweep.n={start:1,stop:9,stp:2}", "a key of sweep.n is 'stp'; allowed: start, stop, step"),
        (
            "sweep.both={protocol.k:[5,8],protocol.alpha:[4,6]} protocol.k=9",
            "set and swept; allowed: protocol.k=... with ~sweep.both, or sweep.both=",
        ),
    ],
)
def test_what_is_not_used_is_refused(words, refusal):
    with pytest.raises(ConfigError, match=refusal):
        plan(*words.split())


@pytest.mark.parametrize(
    "words",
    [
        "adversary=flip",
        "adversary=balance_pooled adversary.lag=1",
        "sweep.adversary=[flip,echo] n=50",
        "adversary=flip byzantine_fraction=0.004 n=100",
        "estimator=splitting adversary=safety_split adversary.fed=0.3",
        "defence=on adversary=flip",
        "defence=on campaign.cluster.misbehaving_share=0.5",
        "defence=on campaign.cluster.adversary=flip",
        "experiment=churn_limit campaign.cluster.double_votes=0.1",
    ],
)
def test_what_byzantine_nodes_do_is_of_no_use_without_any(words):
    with pytest.raises(ConfigError, match=r"no effect, for no node is Byzantine; allowed: with"):
        plan(*words.split())
    share = "campaign.cluster.byzantine_fraction" if "churn" in words else "byzantine_fraction"
    given = [word for word in words.split() if not word.startswith(("byzantine", "n="))]
    assert plan(*given, f"{share}=0.2").studies


def experiment(tmp_path, text):
    (tmp_path / "experiment").mkdir(exist_ok=True)
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    return f"hydra.searchpath=[{tmp_path}]", "experiment=mine"


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("defaults: [override /protocol: snowball]\n", "protocol is set by experiment=mine; .*"),
        ("trials: 5\n", r"trials is set by .*defence=on \(campaign\.trials"),
        ("network: {loss: 0.2}\n", r"network is set by .*campaign\.cluster\.profile"),
        ("schedule: async\n", "schedule is set by experiment=mine; allowed: what the campaign"),
        ("precision: {target: stalled}\n", r"precision is set by .*campaign\.trials"),
    ],
)
def test_what_a_file_sets_and_campaigns_do_not_use(text, refusal, tmp_path):
    with pytest.raises(ConfigError, match=refusal):
        plan(*experiment(tmp_path, f'{text}defence: "on"\n'))
    plan(*experiment(tmp_path, 'defence: "on"\nbyzantine_fraction: 0.2\n'), "adversary=flip")


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("network: {degree: 40}\n", r"network.degree is 40; .* not complete"),
        (
            "defaults: [override /network: random_regular]\nnetwork: {rewiring: 0.3}\n",
            r"network.rewiring is 0.3; .*topology=small_world, not random_regular",
        ),
        (
            "defaults: [override /network: small_world]\n"
            "network: {topology: complete, graphs: 2}\n",
            r"network.graphs is 2; .* not complete",
        ),
    ],
)
def test_what_a_file_sets_and_its_network_does_not_use(text, refusal, tmp_path):
    with pytest.raises(ConfigError, match=refusal):
        plan(*experiment(tmp_path, text))


def test_trials_in_a_file_and_the_most_in_another(tmp_path):
    text = "defaults: [/experiment/byzantine_sweep, _self_]\ntrials: 200\n"
    with pytest.raises(ConfigError, match=r"trials is 200; allowed: precision\.max_trials, 1000"):
        plan(*experiment(tmp_path, text))
    made = plan(*experiment(tmp_path, f"{text}precision: {{max_trials: 400}}\n"), "trials=300")
    assert made.studies["data.zarr"].trials == 300


def test_a_threshold_tries_fractions_at_which_fates_matter():
    words = "stake=zipf", "n=50", "estimator=threshold", "adversary=random_voting"
    found = [plan(*words, f"stake.shared_fate={fate}") for fate in ("true", "false")]
    stakes = [study.points[0].stake for each in found for study in each.studies.values()]
    assert [stake.shared_fate for stake in stakes] == [True, False]


def test_both_panels_of_a_defence_are_of_the_same_network():
    made = plan("defence=[off,on]", "n=60", "adversary=flip", "sweep.byzantine_fraction=[0,0.1]")
    single, cluster = made.studies["data.zarr"], made.studies["defended.zarr"]
    assert [point.byzantine for point in single.points] == [0, 6]
    assert [point.byzantine for point in cluster.points] == [0, 6]
    assert {point.run.cluster.nodes for point in cluster.points} == {60}
    both = "protocol.beta=9", "campaign.cluster.protocol.beta=9"
    made = plan("defence=[off,on]", *both)
    assert made.studies["defended.zarr"].points[0].run.cluster.protocol.beta == 9


def test_trials_set_by_hand_are_the_most():
    study = plan("experiment=byzantine_sweep", "defence=off", "trials=300").studies["data.zarr"]
    assert (study.trials, study.block, study.precision.max_trials) == (300, 250, 300)
    assert study.config["precision"]["max_trials"] == 300
    study = plan("experiment=byzantine_sweep", "defence=off", "trials=200").studies["data.zarr"]
    assert (study.trials, study.precision) == (200, None)


def test_several_options_in_a_file(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /adversary: [flip, echo]\n"
    (tmp_path / "experiment" / "two.yaml").write_text(text)
    with pytest.raises(
        ConfigError, match=r"adversary is .*; allowed: one option, adversary=mixture"
    ):
        plan(f"hydra.searchpath=[{tmp_path}]", "experiment=two")


def _others(key, value):
    """Other values that the key may have."""
    words = {
        "schedule": ["async"],
        "precision.target": ["stalled"],
        "protocol.decide_when": ["gt", "ge"],
        "network.sampling": ["with_replacement"],
        "network.topology": ["small_world", "random_regular"],
        "network.groups": [[0.6, 0.4]],
        "network.active": [[1.0, 0.5]],
        "network.start": [[1.0, 0.5]],
        "network.cut": [3],
        "network.degree": [60],
        "estimator.event": ["stalled", "disagreement"],
        "estimator.level": [0.3],
        "estimator.fed": [[0.3, 0.4]],
        "adversary.lag": [1],
        "adversary.of": [{"flip": 0.4, "echo": 0.6}],
        "engine.name": ["agents"],
        "defence": ["on"],
        "n": [900],
    }
    if key in words:
        return words[key]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    return [round(value * 0.9 + 0.02, 3)] if isinstance(value, float) else []


def _cases():
    """A base, and words that each must make another study of it."""
    precision = "precision={target: finalised, half_width: 0.1, min_trials: 50}"
    top = {key: value for key, value in keys().items() if "." not in key}
    conf = places.root("conf")
    for key in yaml.safe_load((conf / "config.yaml").read_text()):
        if key in top and key not in ("sweep", "safety", "latency_rounds"):
            yield [], key, top[key]
    yield [precision], "precision.half_width", 0.1
    yield [precision], "precision.min_trials", 50
    yield [precision], "precision.max_trials", 900
    yield [precision], "precision.target", "finalised"
    yield ["n=100000"], "engine.name", "auto"
    for group in ("protocol", "adversary", "network"):
        for option in options(group):
            section = yaml.safe_load((conf / group / f"{option}.yaml").read_text())
            for name, value in section.items():
                if name != "_target_":
                    mixed = ["adversary.of={flip: 0.5, echo: 0.5}"] * (option == "mixture")
                    some = ["byzantine_fraction=0.2"] * (group == "adversary")
                    yield [f"{group}={option}", *mixed, *some], f"{group}.{name}", value
    section = yaml.safe_load((conf / "campaign" / "steady.yaml").read_text())
    for name in ("trials", "sampled_vertices", "duration_s", "drain_s", "window_s"):
        yield ["defence=on"], f"campaign.{name}", section[name]
    for kind in ("threshold", "splitting", "design"):
        base = [f"estimator={kind}", "adversary=safety_split"]
        base += ["byzantine_fraction=0.2"] if kind != "threshold" else []
        file = yaml.safe_load((conf / "estimator" / f"{kind}.yaml").read_text())
        for name, value in file["estimator"].items():
            if not (isinstance(value, str) and value.startswith("${") and name != "fed"):
                yield base, f"estimator.{name}", value
        for name in ("trials", "safety", "latency_rounds"):
            if name in file:
                yield base, name, file[name]


def test_no_key_is_without_effect():
    """Every key of studies, set to another value, makes another study, or is refused by name."""
    changed = set()
    for base, key, value in _cases():
        if key in SAME_STUDY and not base:
            continue
        before = identity(base)
        for other in (each for each in _others(key, value) if each != value):
            try:
                after = identity(base, key, other)
            except ConfigError as error:
                refusal = str(error)
                named = re.search(rf"\b{key.rpartition('.')[2]}\b", refusal)
            else:
                named = after != before
                changed.add(key)
            assert named, (base, key, other)
    assert len(changed) > 40


@pytest.mark.parametrize(
    "key", [key for key in SAME_STUDY if not key.startswith(("packages", "precision."))]
)
def test_what_leaves_the_study_as_it_is(key):
    cores = str(len(jax.devices()))  # others cannot be had once JAX has been used
    other = {"output": "there", "watch": "a.prom", "engine.memory_mb": "64", "engine.cores": cores}
    other |= {"engine.workers": "2", "engine.price_per_core_hour": "0.5", "shard": "1/3"}
    value = other.get(key) or str(key in ("netcdf", "theory")).lower()
    base = ["experiment=scale_sweep"] * (key == "theory")  # whose figure has it

    def digest(*words):
        return sweep.study_digest([*plan(*base, *words).studies.values()])

    assert digest(f"{key}={value}") == digest()


def test_refusals_of_commands_at_random():
    """Each names what was set and says what is allowed; none is a traceback."""
    assert commands(3, 5) == commands(3, 5)
    told = [(words, planned(words)) for words in commands(7, 15)]
    poor = [(words, line) for words, line in told if line and not told_well(words, line)]
    assert not poor
    assert Grammar(0).keys.keys() >= {"n", "protocol.k", "campaign.cluster.nodes"}


@pytest.mark.parametrize(
    "word",
    [
        *("precision=[1]", "hydra.job.name=[1]", "+experiment=design", "protocol@foo=slush"),
        *("experiment={a: 1}", "~estimator", "estimator.name={a: 1}", "n='${nokey}'", "foo.bar=1"),
        *("~n", "n=${", "protocol={k: 5}", "n=1.5", "trials=[1]", "seed=-1", "sweep=[1]"),
    ],
)
def test_a_refusal_says_what_is_allowed(word):
    line = planned([word])
    assert told_well([word], line), line


def test_trials_that_nobody_sets():
    """The number by which files are known to leave them alone is the configuration's own."""
    config = yaml.safe_load((places.root("conf") / "config.yaml").read_text())
    assert config["trials"] == sweep.TRIALS
