"""What a run knows of how the model was made, and of its use, in sentences.

Each function gives none where the run does not know: nothing is said that its files do not tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from hilum.data.leaks import describe, find_leaks
from hilum.data.words import count_of, enumerated
from hilum.errors import HilumError
from hilum.recipe.schema import Augment, Prepare, Stage
from hilum.report.facts import Facts
from hilum.report.limits import limits as limits_of

Lines = Sequence[str]


def _identity(facts: Facts) -> Lines:
    classes = enumerated(facts.classes, "or")
    return [f"A deep network ({facts.backbone}) that names a chest radiograph {classes}: “{_title(facts)}”."]


def _title(facts: Facts) -> str:
    return facts.recipe.about.title or facts.run.path.resolve().name


def _develops(facts: Facts) -> Lines:
    part = facts.judged
    return [f"A model is developed, and evaluated on its own {part} part." if part else ""]


def _made(facts: Facts) -> Lines:
    environment = facts.environment
    return [f"Trained on {str(environment['started'])[:10]} with hilum {environment['hilum']}."] * (
        "started" in environment
    )


def _not_for(facts: Facts) -> Lines:
    always = limits_of(facts.manifest, facts.classes)[:3]  # those that hold for every model come first
    return [f"{limit.short}: {limit.because}" for limit in always]


def _limits(facts: Facts) -> Lines:
    return [f"{limit.short}: {limit.because}" for limit in limits_of(facts.manifest, facts.classes)]


def _output(facts: Facts) -> Lines:
    return [
        f"One calibrated probability for each of {enumerated(facts.classes)}, which add up to 1, and the most probable "
        "class."
        if (facts.metrics.get("_about") or {}).get("temperature") is not None
        else f"One probability for each of {enumerated(facts.classes)}, which add up to 1, and the most probable class."
    ]


def _outcome(facts: Facts) -> Lines:
    labels = facts.manifest.groupby("class", observed=True)["label"].unique()
    named = [name for name in facts.classes if name in labels]
    each = "; ".join(f"{name}: {enumerated(sorted(map(str, labels[name])))}" for name in named)
    return [f"The class of a film comes from the label that its source gives it ({each})."]


def _preparation(facts: Facts) -> Lines:
    how, plain = facts.recipe.prepare, Prepare()
    lines = [
        f"Each film is decoded to 8-bit grey and resized to {how.side_px} x {how.side_px} pixels, its aspect "
        f"{'kept and padded with black' if how.keep_aspect else 'not kept'}, in the same way in training and in use."
    ]
    if how.centre_crop != plain.centre_crop:
        lines.append(f"Only the centre, {how.centre_crop:.0%} of each side, is kept.")
    if how.equalise != "none":
        lines.append(f"Grey values are equalised ({how.equalise}).")
    if how.lungs != "none":
        word = "cut to the box of the lungs" if how.lungs == "crop" else "made black outside the lungs"
        lines.append(f"Films are {word}, as a lung network (fingerprint {how.lungs_network}) finds them.")
    return lines


def _copies(facts: Facts) -> Lines:
    leaks = find_leaks(facts.manifest[facts.manifest["part"].notna()])
    return [
        f"Films were compared for copies between the parts: {describe(leaks)}."
        if len(leaks)
        else "Films were compared for copies between the parts; none was found."
    ]


def _split(facts: Facts) -> Lines:
    how, scheme = facts.recipe.split, facts.environment.get("scheme") or facts.recipe.split.scheme
    words = {
        "published": f"The published test part was kept; {how.validation:.0%} of the others are for validation.",
        "patient": f"Patients were drawn: {how.test:.0%} for the test, {how.validation:.0%} for the validation part.",
        "random": "Films, not patients, were drawn, so one patient may be in two parts.",
        "source": "One source is the test part, and the others are for training and validation.",
    }
    lines = [f"{len(facts.folds)} folds, each once the test part."] if facts.folds else []
    return [*lines, words.get(str(scheme), ""), f"The seed of the draw is {how.seed}."]


def _disjoint(facts: Facts) -> Lines:
    films = facts.manifest
    unknown = int(films["patient_id"].isna().sum())
    told = f"Parts are disjoint by {'film' if facts.environment.get('scheme') == 'random' else 'patient'}"
    if unknown == len(films):
        told = "No patient is known, so parts are disjoint by film"
    elif unknown:
        told += f", but for {count_of(unknown, 'film')} whose patient is unknown"
    return [f"{told}.", *_copies(facts)]


def _test_opened(facts: Facts) -> Lines:
    opened = facts.environment.get("test_part_opened")
    return [
        f"The test part was opened at {opened}, after training had ended: the epochs, the temperature and the "
        "operating points of this run were chosen without it."
    ] * bool(opened)


def _same_sources(facts: Facts) -> Lines:
    films = facts.manifest
    test, learned = (set(films.loc[films["part"] == part, "source"]) for part in ("test", "train"))
    if not test or not learned:
        return []
    new = sorted(test - learned)
    if not new:
        return [f"The test films come from the sources of the training films ({enumerated(sorted(test))})."]
    return [f"Sources of the test part that are not in the train part: {enumerated(new)}."]


def _model(facts: Facts) -> Lines:
    if facts.is_ensemble or facts.folds:
        return _ensemble(facts)
    model = facts.recipe.model
    head = model.head
    lines = [
        f"{model.backbone}, pooling {model.pooling}, "
        + (f"{head.layers} dense layers of {head.units} units, " if head.layers else "")
        + f"one linear layer for {len(facts.classes)} classes, softmax"
        + (f", dropout {model.dropout:g}" if model.dropout else "")
        + "."
    ]
    try:
        count = _parameters(facts)
    except HilumError:  # a run whose weights are not there still tells its recipe
        count = 0
    return [*lines, f"{count / 1e6:.2f} million numbers in its weights." if count else ""]


def _parameters(facts: Facts) -> int:
    """Numbers in the weights' file, read from its header: eight bytes of length, then JSON."""
    path = facts.run.weights_path
    with path.open("rb") as file:
        try:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        except (ValueError, MemoryError):
            return 0
    total = 0
    for name, tensor in header.items():
        size = 1
        for side in tensor["shape"] if name != "__metadata__" else ():
            size *= side
        total += size if name != "__metadata__" else 0
    return total


def _normalise(facts: Facts) -> Lines:
    words = {
        "pretrained": "Grey values are normalised as the backbone's weights expect.",
        "featurewise": "Grey values are normalised by mean and spread of the train part.",
        "zca": "Films are whitened (ZCA) by the train part.",
    }
    return [words[facts.recipe.model.normalise]]


def _start(facts: Facts) -> Lines:
    found = facts.environment.get("backbone_weights") or facts.environment.get("weights") or {}
    if not found:
        return []
    name = str(found.get("backbone") or found.get("name") or "backbone")
    if found.get("kind") == "none":
        return [f"{name} began with random weights (seed {facts.recipe.training.seed}); so did the head."]
    licence = f", licence {found['licence']}" if found.get("licence") else ""
    sha = f", SHA-256 {found['sha256']}" if found.get("sha256") else ""
    return [f"{name} began with given weights{licence}{sha}; the head with random ones."]


def _training(facts: Facts) -> Lines:
    recipe = facts.recipe
    if facts.is_ensemble:
        return []
    lines = [_stage(number, stage) for number, stage in enumerate(recipe.stage, 1)]
    seconds = facts.environment.get("training_seconds")
    took = f", {float(seconds) / 60:.0f} minutes" if seconds else ""
    precision = facts.environment.get("precision")
    lines.append(f"Cross-entropy; seed {recipe.training.seed}{f', precision {precision}' if precision else ''}{took}.")
    return lines


def _stage(number: int, stage: Stage) -> str:
    what = {"all": "the whole network", "none": "the head alone"}.get(
        str(stage.unfreeze), f"the head and the last {stage.unfreeze} layers of the backbone"
    )
    return (
        f"Stage {number}: {what}, at most {stage.epochs} epochs, {stage.optimiser}, learning rate "
        f"{stage.learning_rate:g} ({stage.schedule.replace('_', ' ')}), weight decay {stage.weight_decay:g}, batches "
        f"of {stage.batch_size} films."
    )


def _augmentation(facts: Facts) -> Lines:
    how, plain = facts.recipe.augment.model_dump(), Augment().model_dump()
    changed = [
        key.replace("_", " ") if value is True else f"{key.replace('_', ' ')} {value}"
        for key, value in how.items()
        if value != plain[key] and key != "fill"
    ]
    return [f"Random changes to training films, each at most: {', '.join(changed)}." if changed else "No augmentation."]


def _chosen(facts: Facts) -> Lines:
    if facts.is_ensemble:
        return []
    kept = {
        "best": "the epoch with the best {} of the validation part was kept",
        "last": "its last epoch was kept",
    }
    return [
        f"Stage {number}: {kept[stage.keep].format(stage.monitor.replace('_', ' '))}."
        for number, stage in enumerate(facts.recipe.stage, 1)
    ]


def _ensemble(facts: Facts) -> Lines:
    if facts.is_ensemble:
        folds = f", in each of {len(facts.folds)} folds; the mean of all predicts other films" if facts.folds else ""
        return [f"The members are: {facts.backbone}{folds}."]
    if facts.folds:
        return [f"{len(facts.folds)} networks of one recipe, one for each fold; their mean predicts other films."]
    flip = facts.recipe.predict.flip
    return [
        "One network"
        + (", whose logits of a film and of its mirror image are averaged." if flip else "; nothing was combined.")
    ]


def _predicting(facts: Facts) -> Lines:
    return [*_ensemble(facts), "Each film was read, prepared and passed through the network in float32."]


def _balance(facts: Facts) -> Lines:
    how = facts.recipe.balance
    words = {
        "none": "Classes were not balanced",
        "weights": "Rarer classes weigh more in the loss",
        "under": "Common classes were drawn less often in training",
        "over": "Rarer classes were drawn more often in training",
        "share": "Classes were drawn in training with set shares",
    }
    counts = facts.manifest["class"].value_counts(normalize=True)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in counts.items())
    sources = " Sources were balanced within each class." if how.by_source else ""
    return [f"{words[how.how]}; of all films {shares}.{sources}"]


def _by_source(facts: Facts) -> Lines:
    if facts.recipe.balance.by_source:
        return ["Sources were balanced within each class."]
    return ["Sources were not balanced within the classes."]


def _not_updated(facts: Facts) -> Lines:
    opened = facts.environment.get("test_part_opened")
    return ["The weights were not changed after the test part was opened."] * bool(opened)


def _software(facts: Facts) -> Lines:
    environment = facts.environment
    packages = ", ".join(f"{name} {version}" for name, version in (environment.get("packages") or {}).items())
    lines = [f"hilum {environment['hilum']}, Python {environment['python']}, {packages}."]
    machine = ", ".join(str(environment[key]) for key in ("processor", "accelerator") if environment.get(key))
    return [*lines, f"Trained on: {machine}." if machine else ""]


def _bad_input(facts: Facts) -> Lines:
    return [
        "hilum refuses a file that it cannot read, or whose DICOM header says that it is no film of the chest, with "
        "the reason. Any other film gets an answer, also one of another part of the body, or of poor quality."
    ] * (facts.recipe is not None)


def _user(facts: Facts) -> Lines:
    return ["A user gives a film and reads the probabilities; nothing else is entered."] * (facts.recipe is not None)


def _next(facts: Facts) -> Lines:
    return ["To judge it on films of hospitals that are not among its sources."] * bool(_same_sources(facts))


def _weights(facts: Facts) -> Lines:
    sha = facts.environment.get("weights_sha256")
    told = f"weights.safetensors, SHA-256 {sha}; it holds the classes in order and how films are prepared."
    return [told] * bool(sha)


def _again(facts: Facts) -> Lines:
    verb = "crossval" if facts.folds else "train"
    return [] if facts.is_ensemble else [f"hilum {verb} --recipe recipe.toml makes it again; every setting is in it."]


def _code(facts: Facts) -> Lines:
    environment = facts.environment
    commit = environment.get("git_commit")
    return [f"hilum {environment['hilum']} (Apache-2.0){f', commit {commit}' if commit else ''}; recipe.toml."]


def _needs(facts: Facts) -> Lines:
    return [f"{reader}: {where}" for reader, where in facts.recipe.about.needs.items()]


KNOWN: Mapping[str, Callable[[Facts], Lines]] = {
    "identity": _identity,
    "develops": _develops,
    "made": _made,
    "not_for": _not_for,
    "limits": _limits,
    "output": _output,
    "outcome": _outcome,
    "preparation": _preparation,
    "copies": _copies,
    "split": _split,
    "disjoint": _disjoint,
    "test_opened": _test_opened,
    "same_sources": _same_sources,
    "model": _model,
    "normalise": _normalise,
    "start": _start,
    "training": _training,
    "augmentation": _augmentation,
    "chosen": _chosen,
    "ensemble": _ensemble,
    "predicting": _predicting,
    "balance": _balance,
    "by_source": _by_source,
    "not_updated": _not_updated,
    "software": _software,
    "bad_input": _bad_input,
    "user": _user,
    "next": _next,
    "weights": _weights,
    "again": _again,
    "code": _code,
    "needs": _needs,
}
