"""The documents hold: links lead somewhere, examples work, and every verb, option, setting and key has its words."""

import ast
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
import yaml

from trimtab.cli.verbs import VERBS
from trimtab.definitions.collection import collect
from trimtab.definitions.models import Model
from trimtab.errors import PolicyError
from trimtab.policy.reader import parse_policy
from trimtab.serving.protocols import feedback
from trimtab.serving.protocols.mlflow import scoring
from trimtab.serving.protocols.v2.request import decode as decode_v2

ROOT = Path(__file__).parents[3]
CLI = ROOT / "src" / "trimtab" / "cli"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SKIPPED_FOLDERS = {".git", ".venv", ".trimtab", "demo", "node_modules", "build", "dist", ".bench"}


def pages() -> list[Path]:
    """Return all Markdown files of the repository."""
    return sorted(path for path in ROOT.rglob("*.md") if not SKIPPED_FOLDERS & set(path.relative_to(ROOT).parts[:-1]))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language."""
    return [body for kind, body in FENCE.findall(text_of(name)) if kind == language]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- links


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page if not path else (page.parent / unquote(path)).resolve()
        if not found.exists() or not found.is_relative_to(ROOT) or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, new = set[Path](), {ROOT / "README.md"}
    while new:
        page = new.pop()
        seen.add(page)
        linked = {(page.parent / target.partition("#")[0]).resolve() for target in LINK.findall(page.read_text())}
        new |= {path for path in linked if path.suffix == ".md" and path.is_file()} - seen
    assert {page for page in pages() if page.is_relative_to(ROOT / "docs")} <= seen


def test_no_page_names_a_place_on_somebody_s_machine() -> None:
    strange = re.compile(r"/(?:home|root|Users|tmp|work)/\w")
    assert [page for page in pages() if strange.search(page.read_text(encoding="utf-8"))] == []


# --- the README


def test_the_readme_s_definitions_make_a_model() -> None:
    (code,) = blocks("README.md", "python")
    namespace: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), namespace)  # our own words, to see that they hold
    model = collect(namespace).model()
    assert model.fit is namespace["train"]
    assert "punctuality__late_mean_7d" in model.feature_names


def test_the_readme_s_policy_is_one() -> None:
    (policy,) = blocks("README.md", "yaml")
    assert parse_policy(policy).project == "flight-delays"


def test_the_readme_says_no_other_things_than_the_example() -> None:
    (policy,) = (yaml.safe_load(block) for block in blocks("README.md", "yaml"))
    example = yaml.safe_load(text_of("examples/flights/trimtab.yaml"))
    assert list(differences(policy, example)) == []


def differences(part: dict[str, Any], whole: dict[str, Any], at: str = "") -> Iterator[str]:
    """Yield the keys of `part` whose value is another one in `whole`."""
    for key, value in part.items():
        other = whole.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            yield from differences(value, other, f"{at}{key}.")
        elif value != other:
            yield f"{at}{key}: {value!r} is not {other!r}"


# --- commands


def test_every_verb_has_its_section_and_no_other() -> None:
    assert sorted(re.findall(r"^### `(\w+)`$", text_of("docs/commands.md"), re.MULTILINE)) == sorted(VERBS)


def test_what_the_pages_say_of_verbs_is_current() -> None:
    for path, text in runpy.run_path(str(ROOT / "scripts" / "command_pages.py"))["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, "run: python scripts/command_pages.py"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_where_the_table_says(verb: str) -> None:
    path = CLI.joinpath(*VERBS[verb][0].split(".")).with_suffix(".py")
    functions = ast.parse(path.read_text(encoding="utf-8")).body
    assert verb in [
        each.name.rstrip("_") for each in functions if isinstance(each, ast.FunctionDef) and each.decorator_list
    ]


# --- the policy


def test_the_page_of_the_policy_is_current() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "policy_page.py"))["page"]()
    assert text_of("docs/policy.md") == page, "run: python scripts/policy_page.py"


def test_the_page_of_the_policy_shows_errors_as_they_are() -> None:
    shown = "".join(blocks("docs/policy.md", "text"))
    for text in ("gates:\n  accuracy: { metric: roc_acu }", "gates:\n  performance: { p99: 10 }"):
        with pytest.raises(PolicyError) as refused:
            parse_policy(f"project: p\n{text}\n")
        assert str(refused.value).split(":", 2)[2] in shown


# --- protocols


def bodies(path: str) -> list[bytes]:
    """Return the bodies that the page of protocols sends to a path with curl."""
    command = re.compile(
        rf"curl -s \$GATEWAY{re.escape(path)} -H 'Content-Type: application/json' -d '(.*?)'", re.DOTALL
    )
    return [body.encode() for block in blocks("docs/protocols.md", "sh") for body in command.findall(block)]


@pytest.fixture(scope="module")
def delay() -> Model:
    """The model of the example."""
    namespace: dict[str, Any] = runpy.run_path(str(ROOT / "examples" / "flights" / "definitions.py"))
    return collect(namespace).model("delay")


def test_the_inference_example_brings_what_the_model_asks_for(delay: Model) -> None:
    (body,) = bodies("/v2/models/delay/infer")
    request, _ = decode_v2(body)
    assert request.rows == 1
    assert set(request.columns) == {*delay.request_columns, delay.examples.timestamp}


def test_the_scoring_examples_bring_what_the_model_asks_for(delay: Model) -> None:
    (body,) = bodies("/invocations")
    assert set(scoring.decode(body, "application/json").columns) == {*delay.request_columns, delay.examples.timestamp}
    csv = re.search(r"--data-binary \$'(.*?)'", text_of("docs/protocols.md"), re.DOTALL)
    assert csv
    assert scoring.decode(csv[1].encode(), "text/csv").columns == scoring.decode(body, "application/json").columns


def test_the_feedback_examples_are_labels() -> None:
    labels = [label for body in bodies("/v2/models/delay/feedback") for label in feedback.decode(body)]
    assert [(label.id, label.label) for label in labels] == [("flight-4711", 1), ("flight-4712", 0), ("flight-4713", 1)]
    assert [label.known_at is None for label in labels] == [False, False, True]


def test_the_answers_shown_are_json() -> None:
    for block in blocks("docs/protocols.md", "json"):
        assert msgspec.json.decode(block)


# --- the glossary


def test_the_glossary_is_sorted_and_leads_to_files_that_exist() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+) \| (.+) \|$", text_of("docs/glossary.md"), re.MULTILINE)[1:]
    words = [word for word, _, _ in rows]
    assert words == sorted(set(words), key=str.casefold)
    places = [place for _, _, where in rows for place in re.findall(r"`([^`]+)`", where)]
    assert len(places) >= len(rows) > 0
    assert [place for place in places if not (ROOT / "src" / "trimtab" / place).exists()] == []
