"""The conformance statement is what the node does."""

from __future__ import annotations

from dicom.conftest import Start
from hilum.serve.dicom import accepted
from hilum.serve.dicom.anonymise import KEPT
from hilum.serve.dicom.conformance import statement
from hilum.serve.dicom.web.api import router
from hilum.serve.dicom.web.search import KEYS, LEVELS


def test_every_context_that_the_node_takes_is_stated(start: Start) -> None:
    told = statement()
    listening = start().node.listening
    offered = {str(each.abstract_syntax) for each in listening.contexts}
    assert offered == {accepted.VERIFICATION, *accepted.FILM_CLASSES}
    for context in listening.contexts:
        assert f"`{context.abstract_syntax}`" in told
        assert all(f"`{syntax}`" in told for syntax in context.transfer_syntax)
    for status in accepted.STATUSES:
        assert f"`{status:04X}`" in told
    for keyword in KEPT:
        assert f"`{keyword}`" in told


def test_every_address_and_key_of_dicomweb_is_stated() -> None:
    told = statement()
    for route in router.routes:
        last = route.path.rsplit("/", 1)[-1]  # type: ignore[attr-defined]
        assert last.startswith("{") or f"`{last}`" in told or f"`POST {last}`" in told
    for level in LEVELS:
        assert all(key in told for key in KEYS[level])
