"""The conformance statement, made of the tables that the node itself runs on (PS3.2 Annex A, in short)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hilum.serve.dicom import accepted
from hilum.serve.dicom.anonymise import KEPT, MOST_SHIFT_DAYS
from hilum.serve.dicom.outbox import MOST_TRIES
from hilum.serve.dicom.pull import QUERY_CLASSES, Wanted
from hilum.serve.dicom.settings import NodeLimits


def statement() -> str:
    """The statement as Markdown, from its first section on."""
    limits = NodeLimits()
    parts = [
        _overview(),
        _storing(limits),
        _answering(limits),
        _fetching(),
        _limits(limits),
        _security(),
        _anonymising(),
    ]
    return "\n".join(line for part in parts for line in part)


def _overview() -> list[str]:
    rows = [
        ("Verification", "SCP", "`hilum dicom listen`, `hilum serve --dicom`"),
        ("Storage of films", "SCP", "the same; with `hilum dicom pull --move` from the PACS asked"),
        ("Storage of reports and captures", "SCU", "the same, to the nodes of `--send-to`"),
        ("STOW-RS of reports and captures", "user", "the same, to those of `--send-to` that are web addresses"),
        ("Query/Retrieve, study root, FIND, GET and MOVE", "SCU", "`hilum dicom pull`"),
    ]
    return [
        "hilum is an application entity for research. It is not a medical device. The title is `HILUM` unless",
        "`--title` says another; the port is that of `--port`.",
        "",
        *_table(("service", "role", "by"), rows),
        "It does not offer storage commitment, query/retrieve as an SCP, modality worklist, printing, or media. Of",
        "DICOMweb it has the user's side of STOW-RS only. Character sets are those of pydicom; answers keep the set of",
        "the film they answer.",
        "",
    ]


def _storing(limits: NodeLimits) -> list[str]:
    statuses = [(f"`{code:04X}`", meaning) for code, meaning in accepted.STATUSES.items()]
    return [
        "## Receiving",
        "",
        "Any number of presentation contexts is taken, of these abstract syntaxes and, for each film's, of every",
        "transfer syntax below. Verification takes the first two. Of several that are proposed, the one that stands",
        "first in the table is taken.",
        "",
        *_table(("SOP class", "UID"), [("Verification", f"`{accepted.VERIFICATION}`"), *_named(accepted.FILM_CLASSES)]),
        *_table(("transfer syntax", "UID"), _named(accepted.FILM_SYNTAXES)),
        "An object is on disk and in the database before a C-STORE is answered with success. Every element is",
        "kept until the object is answered (level 2, full), and then deleted; the film is kept for `--keep`. The",
        "object is then judged: by its header (modality, body part, view) and by whether lungs are found. What is",
        "no frontal film of the chest was acknowledged with success, and is kept as *not applicable* with its",
        "reason, and not predicted.",
        "",
        *_table(("status", "when"), statuses),
        f"The longest PDU that is announced has {limits.pdu_bytes} bytes. Asynchronous operations are not negotiated.",
        "",
    ]


def _answering(limits: NodeLimits) -> list[str]:
    return [
        "## Answering",
        "",
        "Each film that was predicted is answered, once for each model, by a report and, where films are kept, a",
        "capture:",
        "",
        *_table(("SOP class", "UID"), _named(accepted.ANSWER_CLASSES)),
        *_table(("transfer syntax proposed", "UID"), _named(accepted.ANSWER_SYNTAXES)),
        "Both are in the patient's study, in a series of their own for each model, and refer to the film. Patient",
        "and study attributes are copied from it; those of a value that breaks its representation are left empty.",
        "UIDs are `2.25.` and a name-based UUID of the film's UID, the model and the kind, so that a film that is",
        "answered again has answers of the same UIDs. Codes that neither DICOM nor SNOMED CT has are of the",
        "private scheme `99HILUM`.",
        "",
        "| TID 1500 | content |",
        "| --- | --- |",
        "| Observer | device `hilum`, its model, the start of the weights' SHA-256 as serial number |",
        "| Algorithm identification (TID 4019) | name, version; parameters: SHA-256 of the weights, operating point, "
        "research statement |",
        "| Measurements (TID 300) | the probability of each class, no units |",
        "| Qualitative evaluations | the most probable class; each class of the prediction set; each that is called "
        "at the operating point |",
        "| Image | the film, as source of the measurements |",
        "| Comment | research statement, prediction set, operating point, what is to be said of model and film |",
        "",
        "A node that cannot be reached is tried again after 1 s, 2 s and so on up to 60 s, for ever. An object",
        f"that it refuses is tried {MOST_TRIES} times, and then stands in `hilum dicom status` as refused until",
        "`--retry`. A warning (`Bxxx`) is success. Where the reply to a C-STORE is lost the same object, of the",
        f"same UID, comes again. An association that is silent for {limits.idle_seconds:.0f} s is ended.",
        "",
    ]


def _fetching() -> list[str]:
    wanted = Wanted()
    return [
        "## Fetching",
        "",
        *_table(("SOP class", "UID"), _named(QUERY_CLASSES)),
        "| level | matched by the PACS | asked for and matched here |",
        "| --- | --- | --- |",
        f"| STUDY | StudyDate (range), ModalitiesInStudy ({', '.join(wanted.modalities)}) | StudyInstanceUID |",
        f"| SERIES | StudyInstanceUID | SeriesInstanceUID, Modality, BodyPartExamined ({wanted.body_part}) |",
        "| IMAGE | StudyInstanceUID, SeriesInstanceUID | SOPInstanceUID |",
        "",
        "Retrieval is at the IMAGE level, by lists of SOPInstanceUID, of what is not here yet. C-GET proposes the",
        "films' classes with the role of an SCP; C-MOVE names this node's title, at whose port only the PACS's",
        "title may call.",
        "",
    ]


def _limits(limits: NodeLimits) -> list[str]:
    rows = [
        ("associations at once", f"{limits.associations}", "rejected: local limit exceeded"),
        ("connections at once", f"{limits.connections}", "closed"),
        ("time to ask for an association, TLS too", f"{limits.asking_seconds:.0f} s", "closed"),
        ("silence, and time for one PDU", f"{limits.idle_seconds:.0f} s", "closed"),
        ("one PDU of any kind", f"{limits.request_bytes} bytes", "closed"),
        ("one object", f"{limits.object_bytes} bytes", f"`{accepted.OUT_OF_RESOURCES:04X}`; twice that: closed"),
        ("objects that are not answered yet", f"{limits.waiting}", f"`{accepted.OUT_OF_RESOURCES:04X}`"),
    ]
    return ["## Limits", "", *_table(("of", "most", "else"), rows)]


def _security() -> list[str]:
    return [
        "## Security",
        "",
        "Without `--host` only this machine can call. With another address `--allow` must name who may: a title,",
        "or a title and the address it calls from; others are rejected (calling AE title not recognized), as is",
        "another called title. With `--certificate` the port speaks TLS 1.2 or newer only (PS3.15 B.12), and with",
        "`--authority` only callers with a certificate of it get in. An AE title is no secret: without TLS use",
        "closed networks. Log lines hold titles, sizes, statuses, and names that are keyed hashes: nothing that",
        "an object says.",
        "",
    ]


def _anonymising() -> list[str]:
    return [
        "## Anonymising",
        "",
        "`hilum dicom pull --anonymise` makes a new object that holds these elements and no others. Hashes are",
        "HMAC-SHA256 under a key of one's own, so the same patient and study stay together; whoever has the key",
        f"can test whether a known number is among them. Dates go back by up to {MOST_SHIFT_DAYS} days. It is",
        "named after PS3.15 Annex E; certification against it is not claimed. **Text in the picture stays in",
        "it**: look at what is flagged.",
        "",
        *_table(("element", "value"), [(f"`{keyword}`", value) for keyword, value in KEPT.items()]),
    ]


def _named(table: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, f"`{uid}`") for uid, name in table.items()]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]
