"""The corpus of PNML: what each file gives, and its way there and back."""

from __future__ import annotations

import pytest
from xml_corpus import CORPUS, ROOT, bundle_of, manifest, page_with_table

from wms_grpc.domain.token_game import TokenGame
from wms_grpc.gateway.equality import differences
from wms_grpc.gateway.model import Refused
from wms_grpc.gateway.pnml_reader import Pnml
from wms_grpc.gateway.pnml_writer import PnmlWriter

_LANGUAGE = Pnml()
_FILES = manifest("pnml")
_READ = [name for name, entry in _FILES.items() if entry["outcome"] != "refused"]


def test_the_manifest_is_of_the_files_that_there_are() -> None:
    assert set(_FILES) == {path.name for path in (CORPUS / "pnml").glob("*.pnml")}


@pytest.mark.parametrize("name", _FILES)
def test_a_file_gives_what_the_manifest_says(name: str) -> None:
    entry, bundle = _FILES[name], bundle_of("pnml", name)
    assert _LANGUAGE.claims(bundle)
    if entry["outcome"] == "refused":
        with pytest.raises(Refused) as refused:
            _LANGUAGE.read(bundle)
        finding = refused.value.finding
        assert (finding.code, finding.position.line) == (entry["code"], entry["line"])
        assert finding.message == entry["reason"]
        return
    translation = _LANGUAGE.read(bundle)
    assert [finding.code for finding in translation.findings] == []
    net = translation.workflow.net
    assert (len(net.places), len(net.transitions)) == (entry["places"], entry["transitions"])


@pytest.mark.parametrize("name", _READ)
def test_what_is_written_is_the_same_net(name: str) -> None:
    workflow = _LANGUAGE.read(bundle_of("pnml", name)).workflow
    written = PnmlWriter().write(workflow)

    assert written.findings == ()
    assert differences(workflow, _LANGUAGE.read(written.bundle).workflow) == []


def test_the_sample_of_the_standard_has_its_weight_and_its_tokens() -> None:
    net = _LANGUAGE.read(bundle_of("pnml", "samplePTnet.pnml")).workflow.net

    assert [(place.name, len(place.tokens)) for place in net.places] == [("ready", 3)]
    assert [(arc.place, arc.transition, arc.weight) for arc in net.arcs] == [("p1", "t1", 2)]
    game = TokenGame(net)
    assert game.run() == 1


def test_the_table_in_the_docs_is_fresh() -> None:
    assert (ROOT / "docs" / "languages" / "pnml.md").read_text() == page_with_table("pnml")
