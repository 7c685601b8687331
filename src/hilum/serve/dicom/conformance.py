"""The conformance statement, made of the tables that the node itself runs on (PS3.2 Annex A, in short)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hilum.serve.dicom import accepted
from hilum.serve.dicom.anonymise import KEPT, MOST_SHIFT_DAYS
from hilum.serve.dicom.outbox import MOST_TRIES
from hilum.serve.dicom.pull_dimse import QUERY_CLASSES
from hilum.serve.dicom.settings import NodeLimits
from hilum.serve.dicom.wanted import Wanted
from hilum.serve.dicom.web import search
from hilum.serve.dicom.web.api import PREFIX
from hilum.serve.dicom.web.media import JSON, MANY, OBJECT
from hilum.serve.dicom.web.retrieve import JPEG, PNG
from hilum.serve.settings import Limits


def statement() -> str:
    """The statement as Markdown, from its first section on."""
    limits = NodeLimits()
    parts = [
        _overview(),
        _storing(limits),
        _answering(limits),
        _fetching(),
        _web(),
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
        ("STOW-RS, QIDO-RS and WADO-RS", "origin server", "`hilum serve --dicom-web`"),
        ("QIDO-RS and WADO-RS", "user", "`hilum dicom pull` of a web address"),
    ]
    return [
        "hilum is an application entity for research. It is not a medical device. The title is `HILUM` unless",
        "`--title` says another; the port is that of `--port`.",
        "",
        *_table(("service", "role", "by"), rows),
        "It does not offer storage commitment, query/retrieve as an SCP, modality worklist, printing, or media.",
        "Character sets are those of pydicom; answers keep the set of the film they answer.",
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
        "kept until the object is answered (level 2, full), and of a film for as long as `--keep` says; the preamble",
        "is not kept. The",
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
        "Over DICOMweb the same is asked: studies by StudyDate and ModalitiesInStudy, their series, their instances,",
        "in pages; each object that is not here yet is retrieved by itself, in the transfer syntax that the PACS has",
        "(`transfer-syntax=*`). One that the PACS answers with 404, 406 or 410 is left out and told.",
        "",
    ]


def _web() -> list[str]:
    keys = [(level, ", ".join(search.KEYS[level])) for level in search.LEVELS]
    return [
        "## DICOMweb",
        "",
        f"`hilum serve --dicom-web` has these under `{PREFIX}`, over what came by C-STORE and STOW-RS since it was",
        "started so, and over the reports and captures made of it. The node's answers go to `--dicom-send-to` too.",
        "",
        *_table(
            ("transaction", "resources", "media types"),
            [
                ("STOW-RS", "`POST studies`, `studies/{study}`", f'in `{MANY}; type="{OBJECT}"`, out `{JSON}`'),
                (
                    "QIDO-RS",
                    "`studies`, `series`, `instances`, below a study or series too",
                    f"`{JSON}`",
                ),
                (
                    "WADO-RS",
                    "a study, series or instance",
                    f'`{MANY}; type="{OBJECT}"`, of one instance `{OBJECT}` too',
                ),
                ("WADO-RS", "their `metadata`", f"`{JSON}`; bytes over 1 KiB are left out"),
                ("WADO-RS", "an instance's `rendered`", f"`{JPEG}`, `{PNG}`"),
            ],
        ),
        "XML, bulk data, frames and transcoding are not offered: objects come in the transfer syntax in which they",
        "came. What is asked for otherwise is answered with 406.",
        "",
        "STOW-RS takes the classes and transfer syntaxes of [Receiving](#receiving), each part judged by itself, with",
        "the same statuses as failure reasons, and `B006` as a warning. A part that does not say which object it is",
        "stands in OtherFailuresSequence (0008,119A). 200: all are on disk; 202: some, or with a warning; 409: none;",
        "503: none for want of room, so come again; 400: the body is broken, and what came whole before is on disk;",
        "413: over a limit; 415: another media type.",
        "",
        *_table(("level", "matched, and by what is above"), keys),
        f"Up to {search.MOST} are answered at once, the newest first, with a `Warning` where there are more (`limit`,",
        "`offset`). Dates are matched by range, UIDs by list, all else whole; names are not matched fuzzily, which a",
        "`Warning` says. Any other key is answered with 400, unless its value is empty or `*`: what cannot be matched",
        "must not find more. `includefield` may stand there; what is known is always told. InstanceAvailability is",
        "`ONLINE` or, where the bytes are not kept, `UNAVAILABLE`.",
        "",
        "What is not kept, with `--keep none`, after its hours, or because it is no frontal film of the chest, is",
        "found and answered with 410; a study of which something is not kept, or not in a transfer syntax that is",
        "asked for, with 206.",
        "",
        "Users and tokens are those of the REST API (`Authorization: Bearer`). Any user stores, searches and sees",
        "pictures. Objects and metadata name the patient, and are for administrators, unless the server was started",
        "with `--identify`. The search knows UIDs, classes, modality, day and size, and the patient's number as a",
        "keyed hash: who knows a number can find its studies, and nobody can read it, or with `--identify` the number",
        "itself; names and accession numbers are in the objects only. Every search, and every film that is seen, is in",
        "the server's log.",
        "",
    ]


def _limits(limits: NodeLimits) -> list[str]:
    web = Limits()
    rows = [
        ("associations at once", f"{limits.associations}", "rejected: local limit exceeded"),
        ("connections at once", f"{limits.connections}", "closed"),
        ("time to ask for an association, TLS too", f"{limits.asking_seconds:.0f} s", "closed"),
        ("silence, and time for one PDU", f"{limits.idle_seconds:.0f} s", "closed"),
        ("one PDU of any kind", f"{limits.request_bytes} bytes", "closed"),
        ("one object", f"{limits.object_bytes} bytes", f"`{accepted.OUT_OF_RESOURCES:04X}`; twice that: closed"),
        ("objects that are not answered yet", f"{limits.waiting}", f"`{accepted.OUT_OF_RESOURCES:04X}`"),
        ("one body of STOW-RS", f"{web.body_bytes} bytes", "413"),
        ("parts of one body", f"{web.files}", "413"),
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
